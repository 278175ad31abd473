"""Changes of the layout of a piece: which notes are in which part, and in which order parts stand.

Each function takes an event table and returns the changed one. It returns the same table if there
is nothing to change, or if the result would not be canonical.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from rwkv_music.data.augmentation.table_editing import (
    PEDAL_DOWN,
    PEDAL_UP,
    Chosen,
    changed_table,
    is_note,
    outer_notes,
    parts_of,
    pitches_of,
    times_of,
    types_of,
    with_parts,
)
from rwkv_music.errors import InputError
from rwkv_music.tokenizer.events import PITCH_SHIFT, TOKEN_MASK, EventTable, Keys
from rwkv_music.tokenizer.vocabulary import DRUM_PROGRAM, Vocabulary


def reorder_parts(table: EventTable, order: Sequence[int], vocabulary: Vocabulary) -> EventTable:
    """Put parts into another order.

    Args:
        table: The events.
        order: Old index of each part in the new order.
        vocabulary: Of the tokens.

    Raises:
        InputError: If it is not a permutation, or the programs would not be sorted any more.
    """
    programs = tuple(table.header.programs[part] for part in order)
    if sorted(order) != list(range(len(table.header.programs))) or list(programs) != sorted(
        programs
    ):
        raise InputError(
            f"order {list(order)} does not keep the parts of programs "
            f"{list(table.header.programs)} sorted by program: permute only parts of one program"
        )
    if list(order) == sorted(order):
        return table
    return changed_table(
        table, _moved(table.keys, np.argsort(order)), vocabulary, programs=programs
    )


def merge_parts(table: EventTable, merged: Sequence[int], vocabulary: Vocabulary) -> EventTable:
    """Merge parts of one program into the first of them.

    Of notes of one pitch that begin together, the longest stays. The pedal is that of the part that
    uses it most.

    Args:
        table: The events.
        merged: The parts to merge.
        vocabulary: Of the tokens.

    Raises:
        InputError: If the parts have different programs.
    """
    programs = table.header.programs
    if len({programs[part] for part in merged}) > 1:
        raise InputError(
            f"parts {list(merged)} have the programs {[programs[part] for part in merged]}: merge "
            "parts of one program"
        )
    if len(merged) < 2:
        return table
    target, removed = min(merged), sorted(set(merged) - {min(merged)})
    keys, parts = table.keys, parts_of(table.keys)
    is_pedal = (parts >= 0) & ~is_note(keys)
    uses = {part: int((is_pedal & (parts == part)).sum()) for part in merged}
    pedal_part = max(uses, key=lambda part: (uses[part], -part))
    is_merged = np.isin(parts, merged)
    kept = ~(is_merged & is_pedal) | (parts == pedal_part)
    keys, parts = keys[kept], np.where(is_merged, target, parts)[kept]
    remaining = [part for part in range(len(programs)) if part not in removed]
    new_index = np.zeros(len(programs), dtype=np.int64)
    new_index[remaining] = np.arange(len(remaining))
    keys = with_parts(keys, new_index[parts], parts >= 0)
    keys = _without_doubles(keys, int(new_index[target]))
    return changed_table(
        table, keys, vocabulary, programs=tuple(programs[part] for part in remaining)
    )


def split_part(
    table: EventTable, part: int, is_upper: Chosen, vocabulary: Vocabulary
) -> EventTable:
    """Split a part into two of its program, the upper one first; the lower one keeps the pedal.

    Args:
        table: The events.
        part: The part to split.
        is_upper: Which events go to the upper part; only notes of the part count.
        vocabulary: Of the tokens.
    """
    keys, parts = table.keys, parts_of(table.keys)
    programs = table.header.programs
    own = parts == part
    upper = own & is_upper & is_note(keys)
    if len(programs) == vocabulary.max_parts or not upper.any():
        return table
    if not (own & ~upper & is_note(keys)).any():
        return table
    moves = (parts > part) | (own & ~upper)
    return changed_table(
        table,
        with_parts(keys, parts + 1, moves),
        vocabulary,
        programs=(*programs[: part + 1], *programs[part:]),
    )


def notes_from_pitch(table: EventTable, pitch: int) -> Chosen:
    """Return which events are notes of at least a pitch, for `split_part`."""
    return is_note(table.keys) & (pitches_of(table.keys) >= pitch)


def highest_notes(table: EventTable, part: int) -> Chosen:
    """Return which events are the highest note of a part at their onset, for `split_part`."""
    return outer_notes(table.keys, part, highest=True)


def keep_parts(table: EventTable, kept: Sequence[int], vocabulary: Vocabulary) -> EventTable:
    """Drop all parts except some.

    Args:
        table: The events.
        kept: The parts to keep, ascending.
        vocabulary: Of the tokens.
    """
    programs = table.header.programs
    if not kept or len(kept) == len(programs):
        return table
    keys, parts = table.keys, parts_of(table.keys)
    stays = (parts < 0) | np.isin(parts, kept)
    new_index = np.zeros(len(programs), dtype=np.int64)
    new_index[list(kept)] = np.arange(len(kept))
    keys, parts = keys[stays], parts[stays]
    return changed_table(
        table,
        with_parts(keys, new_index[parts], parts >= 0),
        vocabulary,
        programs=tuple(programs[part] for part in kept),
    )


def silence_until(table: EventTable, part: int, time: int, vocabulary: Vocabulary) -> EventTable:
    """Remove what a part plays before a time, so that it enters later.

    Args:
        table: The events.
        part: The part.
        time: Grid steps from the beginning.
        vocabulary: Of the tokens.
    """
    keys, types = table.keys, types_of(table.keys)
    own = parts_of(keys) == part
    pressed = own & (types == PEDAL_DOWN) & (times_of(keys) >= time)
    first_pressed = int(np.argmax(pressed)) if pressed.any() else len(keys)
    # A pedal that goes up first would have been down before.
    is_late_up = own & (types == PEDAL_UP) & (np.arange(len(keys)) < first_pressed)
    stays = ~own | ((times_of(keys) >= time) & ~is_late_up)
    if stays.all() or not (stays & own & is_note(keys)).any():
        return table
    return changed_table(table, keys[stays], vocabulary)


def replace_programs(
    table: EventTable, replacements: Mapping[int, int], vocabulary: Vocabulary
) -> EventTable:
    """Give the parts of some programs another program, and sort the parts again.

    Args:
        table: The events.
        replacements: Program -> its replacement, from 0 to 127; drums stay.
        vocabulary: Of the tokens.
    """
    programs = [
        program if program == DRUM_PROGRAM else replacements.get(program, program)
        for program in table.header.programs
    ]
    order = sorted(range(len(programs)), key=lambda part: programs[part])
    keys = _moved(table.keys, np.argsort(order))
    return changed_table(table, keys, vocabulary, programs=tuple(programs[part] for part in order))


def _moved(keys: Keys, new_index: np.ndarray) -> Keys:
    parts = parts_of(keys)
    return with_parts(keys, new_index[parts], parts >= 0)


def _without_doubles(keys: Keys, part: int) -> Keys:
    """Keep the longest of a part's notes of one pitch at one onset."""
    own = np.flatnonzero((parts_of(keys) == part) & is_note(keys))
    # Notes of one part, pitch and onset agree above the second token; durations are the last bits.
    order = own[np.lexsort((keys[own] & TOKEN_MASK, keys[own] >> PITCH_SHIFT))]
    same = keys[order] >> PITCH_SHIFT
    shorter = order[:-1][same[1:] == same[:-1]]
    return np.delete(keys, shorter)
