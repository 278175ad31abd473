"""Helpers for changes of an event table that keep it canonical."""

import numpy as np
from jaxtyping import Bool, Int64

from rwkv_music.tokenizer.events import (
    PART_MASK,
    PART_SHIFT,
    PITCH_MASK,
    PITCH_SHIFT,
    TIME_SHIFT,
    TOKEN_MASK,
    TYPE_MASK,
    TYPE_SHIFT,
    EventTable,
    EventType,
    Keys,
)
from rwkv_music.tokenizer.tables import decoding_tables
from rwkv_music.tokenizer.vocabulary import DRUM_PROGRAM, Vocabulary

# Plain numbers: comparing an array with a member of an enumeration is slow.
BAR, TEMPO = int(EventType.BAR), int(EventType.TEMPO)
PEDAL_UP, PEDAL_DOWN = int(EventType.PEDAL_UP), int(EventType.PEDAL_DOWN)
NOTE = int(EventType.NOTE)

Chosen = Bool[np.ndarray, " events"]
Column = Int64[np.ndarray, " events"]


def types_of(keys: Keys) -> Column:
    """Return the `EventType` of each event."""
    return (keys >> TYPE_SHIFT) & TYPE_MASK


def parts_of(keys: Keys) -> Column:
    """Return the part of each event; -1 for those that have none."""
    return np.where(types_of(keys) >= PEDAL_UP, (keys >> PART_SHIFT) & PART_MASK, -1)


def pitches_of(keys: Keys) -> Column:
    """Return the pitch of each note."""
    return (keys >> PITCH_SHIFT) & PITCH_MASK


def times_of(keys: Keys) -> Column:
    """Return the time of each event in grid steps."""
    return keys >> TIME_SHIFT


def is_note(keys: Keys) -> Chosen:
    """Return which events are notes, those of drums included."""
    return types_of(keys) >= NOTE


def outer_notes(keys: Keys, part: int, *, highest: bool) -> Chosen:
    """Return which of sorted events are the highest, or lowest, note of a part at their onset."""
    chosen = np.zeros(len(keys), dtype=bool)
    own = np.flatnonzero((parts_of(keys) == part) & is_note(keys))
    if len(own):
        times = times_of(keys[own])
        changes = times[1:] != times[:-1]
        chosen[own[np.append(changes, True) if highest else np.append(True, changes)]] = True
    return chosen


def with_parts(keys: Keys, parts: Column, changed: Chosen) -> Keys:
    """Return the events with other parts where `changed`; not sorted."""
    moved = keys.copy()
    moved[changed] &= ~(PART_MASK << PART_SHIFT)
    moved[changed] |= parts[changed] << PART_SHIFT
    return moved


def pitched_parts(table: EventTable) -> list[int]:
    """Return the parts that are not drums."""
    programs = table.header.programs
    return [part for part, program in enumerate(programs) if program != DRUM_PROGRAM]


def changed_table(
    table: EventTable,
    keys: Keys,
    vocabulary: Vocabulary,
    *,
    programs: tuple[int, ...] | None = None,
) -> EventTable:
    """Return a table with other events and programs, or `table` if that would not be canonical.

    A piece is canonical only if each part sounds, the last bar contains an event and something
    sounds at the last tempo. A window may have parts that are silent.

    Args:
        table: The table that was changed.
        keys: The new events, in any order.
        vocabulary: Of the tokens.
        programs: The new program of each part; when None those of `table`.
    """
    programs = table.header.programs if programs is None else programs
    sounds = types_of(keys) >= PEDAL_UP
    if not is_note(keys).any():
        return table
    keys = np.sort(keys)
    if table.is_complete:
        before = len(table.header.programs) - _num_sounding(table.keys)
        if len(programs) - _num_sounding(keys) > before or _ends_earlier(keys, vocabulary):
            return table
    assert not sounds.any() or int(parts_of(keys).max()) < len(programs)
    return EventTable(table.header._replace(programs=programs), keys, is_complete=table.is_complete)


def _num_sounding(keys: Keys) -> int:
    parts = parts_of(keys)
    return len(np.unique(parts[parts >= 0]))


def _ends_earlier(keys: Keys, vocabulary: Vocabulary) -> bool:
    """Whether the last bar contains no event, or nothing sounds at the last tempo."""
    types, times = types_of(keys), times_of(keys)
    last_event = int(times[types >= TEMPO].max())
    last_bar = int(times[types == BAR].max(initial=0))
    last_tempo = int(times[types == TEMPO].max(initial=-1))
    sounds = types >= PEDAL_UP
    durations = decoding_tables(vocabulary).durations.take(keys[sounds] & TOKEN_MASK)
    return last_event < last_bar or last_tempo >= int((times[sounds] + durations).max())
