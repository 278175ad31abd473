"""Token ids -> score, vectorised over tokens.

A stream in which every token may follow its neighbour is read at once with table look-ups. Any
other stream is first walked through the grammar, which leaves out the tokens it refuses.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Integer, Shaped, UInt8

from rwkv_music.errors import InputError
from rwkv_music.score.instruments import SUSTAIN_PEDAL
from rwkv_music.tokenizer.compiled import Loops, compiled_loops
from rwkv_music.tokenizer.grammar import Grammar
from rwkv_music.tokenizer.tables import (
    DecodingTables,
    decoding_tables,
    tempo_microseconds_table,
)
from rwkv_music.tokenizer.vocabulary import (
    DRUM_PROGRAM,
    SLOWEST_TEMPO,
    TEMPO_FRACTIONS,
    TokenType,
    Vocabulary,
)

if TYPE_CHECKING:
    import symusic

Ids = Integer[np.ndarray, " _"]
Kinds = UInt8[np.ndarray, " tokens"]
Columns = tuple[Shaped[np.ndarray, " _"], ...]
_DEFAULT_QPM_STEPS = 120 * TEMPO_FRACTIONS
# Plain numbers: comparing an array with a member of an enumeration is slow.
_BAR, _BEAT, _SUBBEAT, _NUM, _PART, _PROG, _TEMPO, _TEMPO_FRACTION, _PED, _DUR = (
    int(kind)
    for kind in (
        TokenType.BAR, TokenType.BEAT, TokenType.SUBBEAT, TokenType.NUM, TokenType.PART,
        TokenType.PROG, TokenType.TEMPO, TokenType.TEMPO_FRACTION, TokenType.PED, TokenType.DUR,
    )
)  # fmt: skip


def decode(ids: Ids, vocabulary: Vocabulary) -> "symusic.Score":
    """A score from any ids; see `Tokenizer.decode`."""
    loops = compiled_loops()
    music = _read_compiled(ids, vocabulary, loops) if loops else _read_whole(ids, vocabulary)
    if music is None:
        admitted = _admitted(ids, vocabulary)
        kinds = decoding_tables(vocabulary).kinds.take(admitted)
        music = _read(admitted, kinds, vocabulary)
    return _score_of(music, vocabulary)


def token_times(ids: Ids, vocabulary: Vocabulary) -> Ids:
    """The moment each token speaks of; see `Tokenizer.token_times`."""
    stream = well_formed(ids, vocabulary)
    if stream is None:
        raise InputError("the ids are no stream: give a whole piece or window, from BOS on")
    return Bars.of(*stream, vocabulary).times.astype(np.int64)


def _read_whole(ids: Ids, vocabulary: Vocabulary) -> "Music | None":
    """A well-formed stream, read with one look at each kind of token; None for any other."""
    stream = well_formed(ids, vocabulary)
    return None if stream is None else _read(*stream, vocabulary)


def well_formed(ids: Ids, vocabulary: Vocabulary) -> tuple[Ids, Kinds] | None:
    """The ids for looking up in tables, and their kinds; None if some may not stand there."""
    places = _in_vocabulary(ids, vocabulary)
    if places is None:
        return None
    tables = decoding_tables(vocabulary)
    kinds = tables.kinds.take(places)
    return (places, kinds) if _is_well_formed(kinds, tables) else None


def _in_vocabulary(ids: Ids, vocabulary: Vocabulary) -> Ids | None:
    """The ids for looking up in tables; None if some are no ids, or the first is not BOS."""
    if not len(ids) or ids[0] != vocabulary.BOS or ids.max() >= vocabulary.size:
        return None
    if ids.dtype.kind != "u" and ids.min() < 0:
        return None
    return ids.astype(np.intp)


def _is_well_formed(kinds: Kinds, tables: DecodingTables) -> bool:
    """Whether each token may follow the one before."""
    pairs = kinds[:-1].astype(np.uint16)
    pairs <<= 5
    pairs |= kinds[1:]
    return bool(tables.follows.take(pairs.astype(np.intp)).all())


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
    return np.array(kept, dtype=np.intp)


class Music(NamedTuple):
    """What a stream says, as symusic's arrays."""

    programs: list[int]
    """One for each slot."""
    tempos: Columns
    """Times and microseconds a quarter."""
    signatures: Columns
    """Times, numerators and denominators."""
    notes: Columns
    """Times, durations, pitches and velocities, slot by slot."""
    note_ends: list[int]
    """Where the notes of each slot begin in there, and where the last one's end."""
    pedals: Columns
    """Times, numbers and values of controllers, slot by slot."""
    pedal_ends: list[int]


class Bars(NamedTuple):
    """Where the bars of a stream are, and the time at each of its tokens."""

    places: Ids
    """Index of each BAR."""
    starts: Ids
    """Where each bar begins, in grid steps."""
    numerators: Ids
    denominators: Ids
    times: Int32[np.ndarray, " tokens"]
    """The time in force at every token; 0 in the header."""

    @classmethod
    def of(cls, ids: Ids, kinds: Kinds, vocabulary: Vocabulary) -> "Bars":
        """Those of a well-formed stream."""
        values = decoding_tables(vocabulary).values
        moves = ((kinds == _BEAT) | (kinds == _SUBBEAT) | (kinds == _BAR)).nonzero()[0]
        moved, set_to = kinds.take(moves), values.take(ids.take(moves))
        is_bar = moved == _BAR
        # A BAR sets both to its own value, 0.
        position = _in_force(set_to, (moved == _BEAT) | is_bar)
        position += _in_force(set_to, (moved == _SUBBEAT) | is_bar)
        opens = is_bar.nonzero()[0]
        bars = moves.take(opens)
        numerators, denominators = _bar_signatures(ids, kinds, bars, values)
        lengths = 4 * vocabulary.steps_per_quarter * numerators // denominators
        before = kinds[bars[1:] - 1]
        is_cut = ((before == _BEAT) | (before == _SUBBEAT)).nonzero()[0]
        # A position right before a BAR says where the bar before it is cut.
        lengths[is_cut] = position[opens[is_cut + 1] - 1]
        starts = lengths.cumsum() - lengths
        if len(bars):
            position[opens[0] :] += starts.repeat(_gaps(opens, len(moves)))
        times = np.zeros(len(ids), dtype=np.int32)
        if len(moves):
            times[moves[0] :] = position.astype(np.int32).repeat(_gaps(moves, len(ids)))
        return cls(bars, starts, numerators, denominators, times)


def _read(ids: Ids, kinds: Kinds, vocabulary: Vocabulary) -> Music:
    """A well-formed stream, read with one look at each kind of token."""
    tables = decoding_tables(vocabulary)
    values = tables.values
    bars, starts, numerators, denominators, times = Bars.of(ids, kinds, vocabulary)
    slots = slots_in_force(ids, kinds, values)
    header = bars[0] if len(bars) else len(ids)
    programs = values[ids[:header][kinds[:header] == _PROG]].tolist()
    ends, note_ends = _by_slot((kinds == _DUR).nonzero()[0], slots, len(programs))
    switches, pedal_ends = _by_slot((kinds == _PED).nonzero()[0], slots, len(programs))
    return Music(
        programs=programs,
        tempos=_tempos(ids, kinds, times, values),
        signatures=_signatures(starts, numerators, denominators),
        notes=(
            times.take(ends),
            tables.durations.take(ids.take(ends)),
            tables.pitches.take(ids.take(ends - 2)),
            tables.velocities.take(ids.take(ends - 1)),
        ),
        note_ends=note_ends,
        pedals=(
            times.take(switches),
            np.full(len(switches), SUSTAIN_PEDAL, dtype=np.uint8),
            (values.take(ids.take(switches)) * 127).astype(np.uint8),
        ),
        pedal_ends=pedal_ends,
    )


def _read_compiled(ids: Ids, vocabulary: Vocabulary, loops: Loops) -> Music | None:
    """What `_read_whole` gives, by the compiled loops."""
    if not len(ids) or ids[0] != vocabulary.BOS:
        return None
    tables = decoding_tables(vocabulary)
    counts = loops.count_kinds(ids, tables.kinds, tables.follows)
    if not len(counts):
        return None
    programs, tempos, signatures, sounds = loops.read(
        ids, tables.kinds, tables.values, counts, vocabulary.steps_per_quarter
    )
    note_times, note_sounds, switch_times, switch_values, ends = loops.split(
        ids, sounds, len(programs), tables.kinds, tables.values,
        tables.durations, tables.pitches, tables.velocities,
    )  # fmt: skip
    note_ends, pedal_ends = ends.tolist()
    return Music(
        programs=programs.tolist(),
        tempos=_tempo_columns(tempos[0], tempos[1]),
        signatures=_signature_columns(*signatures),
        notes=(*note_times, *note_sounds),
        note_ends=note_ends,
        pedals=(
            switch_times,
            np.full(len(switch_times), SUSTAIN_PEDAL, dtype=np.uint8),
            switch_values,
        ),
        pedal_ends=pedal_ends,
    )


def _gaps(places: Ids, length: int) -> Ids:
    """How far it is from each place to the next, and from the last one to the end."""
    gaps: Ids = np.empty(len(places), dtype=np.intp)
    np.subtract(places[1:], places[:-1], out=gaps[:-1])
    gaps[-1:] = length - places[-1:]
    return gaps


def _in_force(set_to: Ids, sets: Bool[np.ndarray, " moves"]) -> Ids:
    """At each move the value that was set last; 0 before the first one."""
    filled = np.zeros(len(sets), dtype=np.int64)
    places = sets.nonzero()[0]
    if len(places):
        filled[places[0] :] = set_to.take(places).repeat(_gaps(places, len(sets)))
    return filled


def slots_in_force(ids: Ids, kinds: Kinds, values: Ids) -> UInt8[np.ndarray, " tokens"]:
    """The part in force at each token; the first one where none was chosen."""
    places = (kinds == _PART).nonzero()[0]
    if not len(places):
        return np.zeros(len(ids), dtype=np.uint8)
    chosen = values.take(ids.take(places)).astype(np.uint8)
    gaps = _gaps(places, len(ids))
    gaps[0] += places[0]
    slots: UInt8[np.ndarray, " tokens"] = chosen.repeat(gaps)
    return slots


def _bar_signatures(ids: Ids, kinds: Kinds, bars: Ids, values: Ids) -> tuple[Ids, Ids]:
    """Numerator and denominator of every bar; those of the header until one changes them."""
    places = (kinds[:-1] == _NUM).nonzero()[0]
    if not len(places):
        return np.full(len(bars), 4), np.full(len(bars), 4)
    numerators, denominators = values.take(ids.take(places)), values.take(ids.take(places + 1))
    if len(places) == 1:
        return numerators.repeat(len(bars)), denominators.repeat(len(bars))
    # The signature of a bar stands right behind its BAR.
    latest = places.searchsorted(bars + 1, side="right") - 1
    return numerators.take(latest, mode="clip"), denominators.take(latest, mode="clip")


def _tempos(ids: Ids, kinds: Kinds, times: Int32[np.ndarray, " tokens"], values: Ids) -> Columns:
    places = (kinds == _TEMPO).nonzero()[0]
    steps = (values.take(ids.take(places)) + SLOWEST_TEMPO) * TEMPO_FRACTIONS
    behind = places + 1
    # Behind the last token there is nothing; the first one, BOS, is no fraction either.
    is_fraction = kinds.take(behind, mode="wrap") == _TEMPO_FRACTION
    steps += values.take(ids.take(behind, mode="wrap")) * is_fraction
    return _tempo_columns(times.take(places), steps)


def _tempo_columns(times: Ids, steps: Ids) -> Columns:
    """Times and microseconds a quarter; 120 quarters a minute where there is no tempo."""
    if not len(times):
        times, steps = np.zeros(1, dtype=np.int32), np.array([_DEFAULT_QPM_STEPS])
    slowest = SLOWEST_TEMPO * TEMPO_FRACTIONS
    return times.astype(np.int32), tempo_microseconds_table().take(steps - slowest)


def _signatures(starts: Ids, numerators: Ids, denominators: Ids) -> Columns:
    """Those that differ from the one before."""
    differs = (numerators[1:] != numerators[:-1]) | (denominators[1:] != denominators[:-1])
    changes = np.append(0, differs.nonzero()[0] + 1) if differs.any() else slice(1)
    return _signature_columns(starts[changes], numerators[changes], denominators[changes])


def _signature_columns(starts: Ids, numerators: Ids, denominators: Ids) -> Columns:
    """As symusic's arrays; 4/4 where there is no bar."""
    if not len(starts):
        return np.zeros(1, np.int32), np.full(1, 4, np.uint8), np.full(1, 4, np.uint8)
    return (
        starts.astype(np.int32), numerators.astype(np.uint8), denominators.astype(np.uint8)
    )  # fmt: skip


def _by_slot(
    places: Ids, slots: UInt8[np.ndarray, " tokens"], num_slots: int
) -> tuple[Ids, list[int]]:
    """Places of each slot, in their order, and where each slot begins and ends there.

    Those of a slot that was not declared are left out.
    """
    own = slots.take(places)
    order = own.argsort(kind="stable")
    ends: list[int] = own.take(order).searchsorted(np.arange(num_slots + 1)).tolist()
    return places.take(order[: ends[-1]]), ends


def _score_of(music: Music, vocabulary: Vocabulary) -> "symusic.Score":
    import symusic

    from rwkv_music.score.instruments import program_name

    score = symusic.Score(vocabulary.steps_per_quarter)
    score.tempos = symusic.core.TempoTickList.from_numpy(*music.tempos)
    signatures = symusic.core.TimeSignatureTickList.from_numpy(*music.signatures)
    score.time_signatures = signatures
    tracks = score.tracks
    for slot, stated in enumerate(music.programs):
        notes = slice(*music.note_ends[slot : slot + 2])
        switches = slice(*music.pedal_ends[slot : slot + 2])
        has_notes, has_switches = notes.start < notes.stop, switches.start < switches.stop
        if has_notes or has_switches:
            is_drum = stated == DRUM_PROGRAM
            program = 0 if is_drum else stated
            track = symusic.core.TrackTick(program_name(program, is_drum=is_drum), program, is_drum)
            if has_notes:
                own = [each[notes] for each in music.notes]
                track.notes = symusic.core.NoteTickList.from_numpy(*own)
            if has_switches:
                own = [each[switches] for each in music.pedals]
                track.controls = symusic.core.ControlChangeTickList.from_numpy(*own)
            tracks.append(track)
    return score
