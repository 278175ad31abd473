"""Token ids -> score, vectorised over tokens.

A stream in which every token may follow its neighbour is read at once with table look-ups. Any
other stream is first walked through the grammar, which leaves out the tokens it refuses.
"""

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.grammar import FOLLOWERS, Grammar
from rwkv_music.tokenizer.vocabulary import (
    DENOMINATORS,
    DRUM_PROGRAM,
    SLOWEST_TEMPO,
    TEMPO_FRACTIONS,
    Kind,
    Vocabulary,
    tempo_microseconds,
)

if TYPE_CHECKING:
    import symusic

Ids = Integer[np.ndarray, " _"]
_SUSTAIN_PEDAL = 64
_DEFAULT_QPM_STEPS = 120 * TEMPO_FRACTIONS
_IS_MOVE = np.isin(list(Kind), (Kind.BAR, Kind.BEAT, Kind.SUB))


def decode(ids: Ids, vocabulary: Vocabulary) -> "symusic.Score":
    """A score from any ids; see `Tokenizer.decode`."""
    if not _is_well_formed(ids, vocabulary):
        ids = _admitted(ids, vocabulary)
    return _read(_Stream.of(ids, vocabulary), vocabulary)


def token_times(ids: Ids, vocabulary: Vocabulary) -> Ids:
    """The moment each token speaks of; see `Tokenizer.token_times`."""
    if not _is_well_formed(ids, vocabulary):
        raise InputError("the ids are no stream: give a whole piece or window, from BOS on")
    return _Stream.of(ids, vocabulary).times(np.arange(len(ids)))


@cache
def _follower_table() -> Bool[np.ndarray, " pairs"]:
    """Whether a kind may be followed by another, at place `kind * number of kinds + other`."""
    table = np.zeros((len(Kind), len(Kind)), dtype=bool)
    for kind, followers in FOLLOWERS.items():
        table[kind, list(followers)] = True
    return table.ravel()


def _is_well_formed(ids: Ids, vocabulary: Vocabulary) -> bool:
    """Whether it begins with BOS and each token may follow the one before."""
    if not len(ids) or ids[0] != vocabulary.BOS or ids.min() < 0 or ids.max() >= vocabulary.size:
        return False
    kinds = vocabulary.kinds[ids]
    return bool(_follower_table()[kinds[:-1] * len(Kind) + kinds[1:]].all())


def _admitted(ids: Ids, vocabulary: Vocabulary) -> Ids:
    """The ids that the grammar admits one after the other; the rest is passed over."""
    grammar = Grammar(vocabulary)
    kept = []
    for token in ids.tolist():
        if 0 <= token < vocabulary.size and grammar.allows(token):
            grammar.advance(token)
            kept.append(token)
        if grammar.finished:
            break
    return np.array(kept, dtype=np.int64)


class _Stream(NamedTuple):
    """A well-formed stream, and the tokens that move time or choose a part."""

    ids: Ids
    kinds: Ids
    table: Ids
    """Each id's place within its kind's range."""
    bar_tokens: Ids
    """Index of each BAR."""
    bar_starts: Ids
    """Where each bar begins, in grid steps."""
    numerators: Ids
    denominators: Ids
    move_times: Ids
    """The time behind each BAR, BEAT and SUB."""
    moves: Ids
    """How many of those there are up to each token."""
    slot_choices: Ids
    """The part that each SLOT names."""
    choices: Ids
    """How many of those there are up to each token."""

    @classmethod
    def of(cls, ids: Ids, vocabulary: Vocabulary) -> "_Stream":
        """Find bars and moves, and the time behind each."""
        kinds, table = vocabulary.kinds[ids], vocabulary.values
        grid = vocabulary.ticks_per_quarter
        is_move = _IS_MOVE[kinds]
        moved = np.flatnonzero(is_move)
        kind, value = kinds[moved], table[ids[moved]]
        is_bar = kind == Kind.BAR
        beat = _carried(kind == Kind.BEAT, is_bar, value)
        position = beat * grid + _carried(kind == Kind.SUB, is_bar, value)
        opens = np.flatnonzero(is_bar)
        bar_tokens = moved[opens]
        numerators, denominators = _bar_signatures(ids, kinds, table, bar_tokens)
        lengths: Ids = 4 * grid * numerators // denominators
        # A position right before a BAR says where the bar before it is cut.
        before = opens[1:] - 1
        is_cut = (moved[before] == bar_tokens[1:] - 1) & ~is_bar[before]
        lengths[:-1][is_cut] = position[before][is_cut]
        bar_starts = np.cumsum(lengths) - lengths
        bar = np.cumsum(is_bar) - 1
        times = bar_starts[bar] + position if len(bar_starts) else position
        is_slot = kinds == Kind.SLOT
        return cls(
            ids=ids,
            kinds=kinds,
            table=table,
            bar_tokens=bar_tokens,
            bar_starts=bar_starts,
            numerators=numerators,
            denominators=denominators,
            move_times=times,
            moves=np.cumsum(is_move, dtype=np.int32),
            slot_choices=table[ids[is_slot]],
            choices=np.cumsum(is_slot, dtype=np.int32),
        )

    def where(self, kind: Kind) -> Ids:
        """Indices of all tokens of a kind."""
        return np.flatnonzero(self.kinds == kind)

    def values(self, places: Ids) -> Ids:
        """Values of the tokens at some indices."""
        found: Ids = self.table[self.ids[places]]
        return found

    def times(self, places: Ids) -> Ids:
        """The time in force at some indices; 0 in the header."""
        behind = self.moves[places] - 1
        if not len(self.move_times):
            return np.zeros(len(places), dtype=np.int64)
        found: Ids = np.where(behind >= 0, self.move_times[behind], 0)
        return found

    def slots(self, places: Ids) -> Ids:
        """The part in force at some indices; 0 if none was chosen."""
        if not len(self.slot_choices):
            return np.zeros(len(places), dtype=np.int64)
        found: Ids = self.slot_choices[np.maximum(self.choices[places] - 1, 0)]
        return found


def _carried(
    sets: Bool[np.ndarray, " moves"], resets: Bool[np.ndarray, " moves"], values: Ids
) -> Ids:
    """At each move the value set last; 0 after a reset."""
    latest = np.maximum.accumulate(np.where(sets | resets, np.arange(len(values)), 0))
    carried: Ids = (values * sets)[latest]
    return carried


def _bar_signatures(ids: Ids, kinds: Ids, table: Ids, bar_tokens: Ids) -> tuple[Ids, Ids]:
    """Numerator and denominator of every bar; those of the header until one changes them."""
    places = np.flatnonzero(kinds == Kind.NUM)
    places = places[places + 1 < len(kinds)]
    if not len(places):
        return np.full(len(bar_tokens), 4), np.full(len(bar_tokens), 4)
    # The signature of a bar stands right behind its BAR.
    latest = np.searchsorted(places, bar_tokens + 1, side="right") - 1
    chosen = places[np.maximum(latest, 0)]
    denominators = np.array(DENOMINATORS)[table[ids[chosen + 1]]]
    return table[ids[chosen]] + 1, denominators


def _read(stream: _Stream, vocabulary: Vocabulary) -> "symusic.Score":
    import symusic

    from rwkv_music.score.instruments import program_name

    score = symusic.Score(vocabulary.ticks_per_quarter)
    _read_tempos(score, stream)
    _read_signatures(score, stream)
    programs = _programs(stream)
    notes = _notes(stream, vocabulary, len(programs))
    pedals = _pedals(stream, len(programs))
    for stated, own, switches in zip(programs, notes, pedals, strict=True):
        is_drum = stated == DRUM_PROGRAM
        program = 0 if is_drum else stated
        track = symusic.Track(program_name(program, is_drum=is_drum), program, is_drum)
        track.notes = symusic.core.NoteTickList.from_numpy(*own)
        track.controls = symusic.core.ControlChangeTickList.from_numpy(*switches)
        if len(own[0]) or len(switches[0]):
            score.tracks.append(track)
    return score


def _read_tempos(score: "symusic.Score", stream: _Stream) -> None:
    import symusic

    places = stream.where(Kind.TEMPO)
    steps = (stream.values(places) + SLOWEST_TEMPO) * TEMPO_FRACTIONS
    behind = np.minimum(places + 1, len(stream.kinds) - 1)
    has_fraction = stream.kinds[behind] == Kind.TEMPOF
    steps = steps + np.where(has_fraction, stream.values(behind), 0)
    times = stream.times(places)
    if not len(steps):
        times, steps = np.array([0]), np.array([_DEFAULT_QPM_STEPS])
    score.tempos = symusic.core.TempoTickList.from_numpy(
        times.astype(np.int32), tempo_microseconds(steps).astype(np.int32)
    )


def _read_signatures(score: "symusic.Score", stream: _Stream) -> None:
    import symusic

    numerators, denominators = stream.numerators, stream.denominators
    if not len(numerators):
        score.time_signatures.append(symusic.TimeSignature(0, 4, 4))
        return
    changes = np.ones(len(numerators), dtype=bool)
    changes[1:] = (numerators[1:] != numerators[:-1]) | (denominators[1:] != denominators[:-1])
    for bar in np.flatnonzero(changes).tolist():
        score.time_signatures.append(
            symusic.TimeSignature(
                int(stream.bar_starts[bar]), int(numerators[bar]), int(denominators[bar])
            )
        )


def _programs(stream: _Stream) -> list[int]:
    first_bar = stream.bar_tokens[0] if len(stream.bar_tokens) else len(stream.ids)
    places = stream.where(Kind.PROG)
    programs: list[int] = stream.values(places[places < first_bar]).tolist()
    return programs


def _notes(stream: _Stream, vocabulary: Vocabulary, num_slots: int) -> list[tuple[np.ndarray, ...]]:
    """Notes of each slot, as symusic's arrays; a note is a pitch, a velocity and a duration."""
    ends = stream.where(Kind.DUR)
    pitches = ends - 2
    columns = (
        stream.times(pitches).astype(np.int32),
        vocabulary.durations[stream.values(ends)].astype(np.int32),
        stream.values(pitches).astype(np.int8),
        vocabulary.velocity_value(stream.values(ends - 1)).astype(np.int8),
    )
    return _by_slot(stream.slots(pitches), columns, num_slots)


def _pedals(stream: _Stream, num_slots: int) -> list[tuple[np.ndarray, ...]]:
    """Switches of the sustain pedal of each slot, as symusic's arrays."""
    places = stream.where(Kind.PED)
    columns = (
        stream.times(places).astype(np.int32),
        np.full(len(places), _SUSTAIN_PEDAL, dtype=np.uint8),
        (stream.values(places) * 127).astype(np.uint8),
    )
    return _by_slot(stream.slots(places), columns, num_slots)


def _by_slot(
    slots: Ids, columns: tuple[np.ndarray, ...], num_slots: int
) -> list[tuple[np.ndarray, ...]]:
    """Rows of each slot, in their order; rows of a slot that was not declared are left out."""
    order = np.argsort(slots, kind="stable")
    ends = np.searchsorted(slots[order], np.arange(num_slots + 1)).tolist()
    ordered = [column[order] for column in columns]
    return [
        tuple(column[ends[slot] : ends[slot + 1]] for column in ordered)
        for slot in range(num_slots)
    ]
