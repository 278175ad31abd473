"""Token ids -> score.

A stream in which each token may follow the one before is read at once. Any other stream is first
walked through the grammar, which leaves out the tokens it does not allow.
"""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int32, Int64, Integer, UInt8

from rwkv_music.score.instruments import SUSTAIN_PEDAL, program_name
from rwkv_music.tokenizer.events import LAST_TIME, EventColumns, EventTable, EventType
from rwkv_music.tokenizer.grammar import Grammar
from rwkv_music.tokenizer.native import native_loops
from rwkv_music.tokenizer.reader import read_events
from rwkv_music.tokenizer.tables import (
    DecodingTables,
    decoding_tables,
    tempo_microseconds_table,
)
from rwkv_music.tokenizer.vocabulary import (
    DRUM_PROGRAM,
    SLOWEST_TEMPO,
    SLOWEST_TEMPO_STEPS,
    TEMPO_FRACTIONS,
    Vocabulary,
)

if TYPE_CHECKING:
    import symusic

Ids = Integer[np.ndarray, " _"]
_BAR, _TEMPO, _PEDAL_DOWN = int(EventType.BAR), int(EventType.TEMPO), int(EventType.PEDAL_DOWN)
_FIRST_PEDAL, _FIRST_NOTE = int(EventType.PEDAL_UP), int(EventType.NOTE)


def decode(ids: Ids, vocabulary: Vocabulary) -> "symusic.Score":
    """Return the score of any ids; see `Tokenizer.decode`."""
    table = read_events(ids, vocabulary)
    if table is None:
        table = read_events(_allowed_ids(ids, vocabulary), vocabulary)
    assert table is not None  # the grammar allows no other ids
    return score_of(table, vocabulary)


def _allowed_ids(ids: Ids, vocabulary: Vocabulary) -> Ids:
    """Return the ids that the grammar allows one after the other; at least BOS."""
    grammar = Grammar(vocabulary)
    kept = []
    for token in ids.tolist():
        if 0 <= token < vocabulary.size and grammar.allows(token):
            grammar.advance(token)
            if grammar.bar_end > LAST_TIME:  # a key cannot hold what comes then
                break
            kept.append(token)
        if grammar.finished:
            break
    return np.array(kept or [vocabulary.BOS], dtype=np.uint16)


def score_of(table: EventTable, vocabulary: Vocabulary) -> "symusic.Score":
    """Return the score of a table; parts without events are left out."""
    import symusic

    columns = columns_of(table, vocabulary)
    score = symusic.Score(vocabulary.steps_per_quarter)
    tempos = tempo_microseconds_table().take(columns.tempo_steps - SLOWEST_TEMPO_STEPS)
    score.tempos = symusic.core.TempoTickList.from_numpy(columns.tempo_time, tempos)
    score.time_signatures = symusic.core.TimeSignatureTickList.from_numpy(*_signatures(columns))
    tracks = score.tracks
    controllers = np.full(int(columns.pedal_ends[-1]), SUSTAIN_PEDAL, dtype=np.uint8)
    note_ends, pedal_ends = columns.note_ends.tolist(), columns.pedal_ends.tolist()
    for part, program in enumerate(table.header.programs):
        notes = slice(note_ends[part], note_ends[part + 1])
        pedals = slice(pedal_ends[part], pedal_ends[part + 1])
        has_notes, has_pedals = notes.start < notes.stop, pedals.start < pedals.stop
        if not (has_notes or has_pedals):
            continue
        track = _track(program)
        if has_notes:
            own = (column[notes] for column in columns[:4])
            track.notes = symusic.core.NoteTickList.from_numpy(*own)
        if has_pedals:
            own = (
                column[pedals] for column in (columns.pedal_time, controllers, columns.pedal_value)
            )
            track.controls = symusic.core.ControlChangeTickList.from_numpy(*own)
        tracks.append(track)
    return score


def _track(program: int) -> "symusic.Track":
    import symusic

    is_drum = program == DRUM_PROGRAM
    program = 0 if is_drum else program
    return symusic.core.TrackTick(program_name(program, is_drum=is_drum), program, is_drum)


def _signatures(columns: EventColumns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the time signatures; 4/4 where there is no bar."""
    if not len(columns.signature_time):
        return np.zeros(1, np.int32), np.full(1, 4, np.uint8), np.full(1, 4, np.uint8)
    return columns.signature_time, columns.numerator, columns.denominator


def columns_of(table: EventTable, vocabulary: Vocabulary) -> EventColumns:
    """Return the events as columns, sorted by part; those of undeclared parts are left out."""
    loops = native_loops()
    if loops and (columns := loops.split_events(table, vocabulary)) is not None:
        return columns
    return columns_with_numpy(table, vocabulary)


def columns_with_numpy(table: EventTable, vocabulary: Vocabulary) -> EventColumns:
    """Return what `columns_of` returns, without the native library."""
    tables, values = decoding_tables(vocabulary), table.values
    parts = len(table.header.programs)
    notes, note_ends = _by_part((values.types >= _FIRST_NOTE).nonzero()[0], values.parts, parts)
    is_pedal = (values.types >= _FIRST_PEDAL) & (values.types < _FIRST_NOTE)
    pedals, pedal_ends = _by_part(is_pedal.nonzero()[0], values.parts, parts)
    is_down = values.types.take(pedals) == _PEDAL_DOWN
    return EventColumns(
        values.times.take(notes).astype(np.int32, copy=False),
        tables.durations.take(values.third_tokens.take(notes)),
        values.pitches.take(notes).astype(np.int8),
        tables.velocities.take(values.second_tokens.take(notes)),
        values.times.take(pedals).astype(np.int32, copy=False),
        (is_down * np.uint8(127)),
        note_ends,
        pedal_ends,
        *_tempo_columns(table, (values.types == _TEMPO).nonzero()[0], tables),
        *_signature_columns(table, (values.types == _BAR).nonzero()[0], tables),
    )


def _by_part(events: Ids, parts: Ids, num_parts: int) -> tuple[Ids, Int64[np.ndarray, " ends"]]:
    """Sort events by part, and return where those of each part begin and end.

    The order within a part stays; those of undeclared parts are left out.
    """
    own = parts.take(events).astype(np.uint8, copy=False)
    order = own.argsort(kind="stable")
    ends = own.take(order).searchsorted(np.arange(num_parts + 1))
    return events.take(order[: ends[-1]]), ends


def _tempo_columns(
    table: EventTable, events: Ids, tables: DecodingTables
) -> tuple[Int32[np.ndarray, " tempos"], Int64[np.ndarray, " tempos"]]:
    """Times and tempos, the header's first."""
    first = np.array([table.header.tempo])
    if not len(events):
        return np.zeros(1, np.int32), first
    values = table.values
    steps = (values.pitches.take(events).astype(np.int64) + SLOWEST_TEMPO) * TEMPO_FRACTIONS
    steps += tables.values.take(values.second_tokens.take(events))
    times = values.times.take(events).astype(np.int32, copy=False)
    return np.append(np.int32(0), times), np.append(first, steps)


def _signature_columns(
    table: EventTable, bars: Ids, tables: DecodingTables
) -> tuple[
    Int32[np.ndarray, " signatures"],
    UInt8[np.ndarray, " signatures"],
    UInt8[np.ndarray, " signatures"],
]:
    """Times, numerators and denominators of the first bar and of each that changes them."""
    header, values = table.header, table.values
    stated = bars.take(values.third_tokens.take(bars).nonzero()[0])
    if not len(stated):
        times = values.times[bars[:1]].astype(np.int32, copy=False)
        num, den = (np.full(len(times), term, np.uint8) for term in header[1:3])
        return times, num, den
    times = values.times.take(np.append(bars[0], stated)).astype(np.int32, copy=False)
    num, den = (
        tables.values.take(tokens.take(stated))
        for tokens in (values.second_tokens, values.third_tokens)
    )
    numerators = np.append(header.numerator, num)
    denominators = np.append(header.denominator, den)
    differs = (numerators[1:] != numerators[:-1]) | (denominators[1:] != denominators[:-1])
    chosen = np.append(0, differs.nonzero()[0] + 1)
    return (
        times.take(chosen),
        numerators.take(chosen).astype(np.uint8),
        denominators.take(chosen).astype(np.uint8),
    )
