"""Changes of the notes of an event table: loudness, and thickness of chords.

As in `part_layout`, the same table is returned if there is nothing to change.
"""

import numpy as np

from rwkv_music.data.augmentation.table_editing import (
    changed_table,
    is_note,
    outer_notes,
    parts_of,
    pitches_of,
    times_of,
)
from rwkv_music.tokenizer.events import (
    PITCH_SHIFT,
    TOKEN_BITS,
    TOKEN_MASK,
    EventTable,
)
from rwkv_music.tokenizer.vocabulary import Vocabulary


def flatten_velocities(table: EventTable, velocity_bin: int, vocabulary: Vocabulary) -> EventTable:
    """Give all notes one velocity, as in music that was written and not played.

    Args:
        table: The events.
        velocity_bin: Index of the velocity among those of the vocabulary.
        vocabulary: Of the tokens.
    """
    keys = table.keys.copy()
    notes = is_note(keys)
    keys[notes] &= ~(TOKEN_MASK << TOKEN_BITS)
    keys[notes] |= vocabulary.velocity[velocity_bin] << TOKEN_BITS
    return changed_table(table, keys, vocabulary)


def double_octaves(
    table: EventTable, part: int, *, upwards: bool, vocabulary: Vocabulary
) -> EventTable:
    """Double the highest notes of a part an octave above, or the lowest ones an octave below.

    Args:
        table: The events.
        part: A pitched part.
        upwards: Which of the two.
        vocabulary: Of the tokens.
    """
    keys = table.keys
    outer = keys[outer_notes(keys, part, highest=upwards)]
    pitches = pitches_of(outer) + (12 if upwards else -12)
    doubled = outer[(pitches >= 0) & (pitches < 128)]
    doubled = doubled + ((12 if upwards else -12) << PITCH_SHIFT)
    # What sounds there already is not struck twice.
    new = doubled[~np.isin(doubled >> PITCH_SHIFT, keys >> PITCH_SHIFT)]
    return changed_table(table, np.concatenate([keys, new]), vocabulary) if len(new) else table


def thin_chords(table: EventTable, part: int, vocabulary: Vocabulary) -> EventTable:
    """Remove every second inner note of the chords of a part; outer notes stay.

    Args:
        table: The events.
        part: A pitched part.
        vocabulary: Of the tokens.
    """
    keys = table.keys
    own = np.flatnonzero((parts_of(keys) == part) & is_note(keys))
    outer = outer_notes(keys, part, highest=True) | outer_notes(keys, part, highest=False)
    first = np.diff(times_of(keys[own]), prepend=-1) > 0
    rank = np.arange(len(own)) - np.maximum.accumulate(np.where(first, np.arange(len(own)), 0))
    removed = own[~outer[own] & (rank % 2 == 1)]
    return changed_table(table, np.delete(keys, removed), vocabulary) if len(removed) else table
