"""Token ids -> score, vectorised over tokens.

A stream in which every token may follow its neighbour is read at once with table look-ups. Any
other stream is first walked through the grammar, which leaves out the tokens it refuses.
"""

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

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


def decode(ids: Ids, vocabulary: Vocabulary) -> "symusic.Score":
    """A score from any ids; see `Tokenizer.decode`."""
    ids = ids.astype(np.int64)
    if not _is_well_formed(ids, vocabulary):
        ids = _admitted(ids, vocabulary)
    return _read(_Stream.of(ids, vocabulary), vocabulary)


@cache
def _follower_table() -> Bool[np.ndarray, "kinds kinds"]:
    table = np.zeros((len(Kind), len(Kind)), dtype=bool)
    for kind, followers in FOLLOWERS.items():
        table[kind, list(followers)] = True
    return table


def _is_well_formed(ids: Ids, vocabulary: Vocabulary) -> bool:
    """Whether it begins with BOS and each token may follow the one before."""
    if not len(ids) or ids[0] != vocabulary.BOS or ids.min() < 0 or ids.max() >= vocabulary.size:
        return False
    kinds = vocabulary.kinds[ids]
    return bool(_follower_table()[kinds[:-1], kinds[1:]].all())


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
    """A well-formed stream with what is in force at each token."""

    kinds: Ids
    values: Ids
    first_bar: int
    """Index of the first BAR; everything before it is the header."""
    bar_starts: Ids
    """Where each bar begins, in grid steps."""
    bar_tokens: Ids
    """Index of each BAR."""
    times: Ids
    slots: Ids

    @classmethod
    def of(cls, ids: Ids, vocabulary: Vocabulary) -> "_Stream":
        """Look up kinds and values, and carry position and slot forward."""
        kinds, values = vocabulary.kinds[ids], vocabulary.values[ids]
        grid = vocabulary.ticks_per_quarter
        is_bar = kinds == Kind.BAR
        bar_tokens = np.flatnonzero(is_bar)
        first_bar = int(bar_tokens[0]) if len(bar_tokens) else len(ids)
        beat = _carried(kinds == Kind.BEAT, is_bar, values)
        position = beat * grid + _carried(kinds == Kind.SUB, is_bar, values)
        lengths = _bar_lengths(kinds, values, bar_tokens, position, grid)
        bar_starts = np.concatenate([[0], np.cumsum(lengths)])[: len(bar_tokens)]
        bar = np.maximum(np.cumsum(is_bar) - 1, 0)
        starts = bar_starts[bar] if len(bar_starts) else np.zeros(len(ids), dtype=np.int64)
        slots = _carried(kinds == Kind.SLOT, np.zeros(len(ids), dtype=bool), values)
        return cls(kinds, values, first_bar, bar_starts, bar_tokens, starts + position, slots)


def _carried(
    sets: Bool[np.ndarray, " tokens"], resets: Bool[np.ndarray, " tokens"], values: Ids
) -> Ids:
    """At each token the value set last; 0 after a reset."""
    latest = np.maximum.accumulate(np.where(sets | resets, np.arange(len(values)), -1))
    return np.where((latest >= 0) & sets[latest], values[latest], 0)


def _bar_signatures(kinds: Ids, values: Ids, bar_tokens: Ids) -> tuple[Ids, Ids]:
    """Numerator and denominator of every bar; those of the header until one changes them."""
    places = np.flatnonzero(kinds == Kind.NUM)
    places = places[places + 1 < len(kinds)]
    if not len(places):
        return np.full(len(bar_tokens), 4), np.full(len(bar_tokens), 4)
    # The signature of a bar stands right behind its BAR.
    latest = np.searchsorted(places, bar_tokens + 1, side="right") - 1
    chosen = places[np.maximum(latest, 0)]
    return values[chosen] + 1, np.array(DENOMINATORS)[values[chosen + 1]]


def _bar_lengths(kinds: Ids, values: Ids, bar_tokens: Ids, position: Ids, grid: int) -> Ids:
    """Length of every bar: its signature's, or the position at which it is cut."""
    numerators, denominators = _bar_signatures(kinds, values, bar_tokens)
    lengths: Ids = 4 * grid * numerators // denominators
    next_bars = bar_tokens[1:]
    is_cut = np.isin(kinds[next_bars - 1], (Kind.BEAT, Kind.SUB))
    lengths[:-1][is_cut] = position[next_bars - 1][is_cut]
    return lengths


def _read(stream: _Stream, vocabulary: Vocabulary) -> "symusic.Score":
    import symusic

    from rwkv_music.score.instruments import program_name

    score = symusic.Score(vocabulary.ticks_per_quarter)
    _read_tempos(score, stream)
    _read_signatures(score, stream)
    programs = _programs(stream)
    notes = _notes(stream, vocabulary)
    pedals = _pedals(stream)
    for slot, stated in enumerate(programs):
        is_drum = stated == DRUM_PROGRAM
        program = 0 if is_drum else stated
        track = symusic.Track(program_name(program, is_drum=is_drum), program, is_drum)
        own = notes.slots == slot
        track.notes = symusic.core.NoteTickList.from_numpy(
            notes.onsets[own].astype(np.int32),
            notes.durations[own].astype(np.int32),
            notes.pitches[own].astype(np.int8),
            notes.velocities[own].astype(np.int8),
        )
        switched = pedals.slots == slot
        track.controls = symusic.core.ControlChangeTickList.from_numpy(
            pedals.times[switched].astype(np.int32),
            np.full(int(switched.sum()), _SUSTAIN_PEDAL, dtype=np.uint8),
            np.where(pedals.is_down[switched], 127, 0).astype(np.uint8),
        )
        if len(track.notes) or len(track.controls):
            score.tracks.append(track)
    return score


def _read_tempos(score: "symusic.Score", stream: _Stream) -> None:
    import symusic

    places = np.flatnonzero(stream.kinds == Kind.TEMPO)
    steps = (stream.values[places] + SLOWEST_TEMPO) * TEMPO_FRACTIONS
    behind = np.minimum(places + 1, len(stream.kinds) - 1)
    steps = steps + np.where(stream.kinds[behind] == Kind.TEMPOF, stream.values[behind], 0)
    if not len(steps):
        places, steps = np.array([0]), np.array([_DEFAULT_QPM_STEPS])
    times = stream.times[places] if len(stream.times) else places
    for time, micro in zip(times.tolist(), tempo_microseconds(steps).tolist(), strict=True):
        score.tempos.append(symusic.Tempo(time, mspq=micro))


def _read_signatures(score: "symusic.Score", stream: _Stream) -> None:
    import symusic

    numerators, denominators = _bar_signatures(stream.kinds, stream.values, stream.bar_tokens)
    if not len(numerators):
        score.time_signatures.append(symusic.TimeSignature(0, 4, 4))
        return
    changes = (np.diff(numerators, prepend=0) != 0) | (np.diff(denominators, prepend=0) != 0)
    for bar in np.flatnonzero(changes).tolist():
        score.time_signatures.append(
            symusic.TimeSignature(
                int(stream.bar_starts[bar]), int(numerators[bar]), int(denominators[bar])
            )
        )


def _programs(stream: _Stream) -> list[int]:
    header = slice(0, stream.first_bar)
    is_program = stream.kinds[header] == Kind.PROG
    programs: list[int] = stream.values[header][is_program].tolist()
    return programs


class _Notes(NamedTuple):
    slots: Ids
    onsets: Ids
    durations: Ids
    pitches: Ids
    velocities: Ids


def _notes(stream: _Stream, vocabulary: Vocabulary) -> _Notes:
    """Whole notes: a pitch, a velocity and a duration in a row."""
    ends = np.flatnonzero(stream.kinds == Kind.DUR)
    pitches = ends - 2
    return _Notes(
        slots=stream.slots[pitches],
        onsets=stream.times[pitches],
        durations=vocabulary.durations[stream.values[ends]],
        pitches=stream.values[pitches],
        velocities=vocabulary.velocity_value(stream.values[ends - 1]),
    )


class _Pedals(NamedTuple):
    slots: Ids
    times: Ids
    is_down: Bool[np.ndarray, " switches"]


def _pedals(stream: _Stream) -> _Pedals:
    places = np.flatnonzero(stream.kinds == Kind.PED)
    return _Pedals(stream.slots[places], stream.times[places], stream.values[places] == 1)
