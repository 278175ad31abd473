"""Declare parts that have no event yet, so that a hole can write them."""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.events import PART_MASK, PART_SHIFT, EventTable, EventType

_PEDAL_UP = int(EventType.PEDAL_UP)


def with_empty_parts(
    table: EventTable, programs: Sequence[int], max_parts: int
) -> tuple[EventTable, list[int], list[int]]:
    """Declare more parts; each stands behind those of the same program.

    Args:
        table: Events of a piece.
        programs: Of the new parts; 128 for drums.
        max_parts: Parts that the tokenizer has.

    Returns:
        The table, the new index of each old part, and the index of each new part.

    Raises:
        InputError: If there would be too many parts.
    """
    old = list(table.header.programs)
    if len(old) + len(programs) > max_parts:
        raise InputError(
            f"the score has {len(old)} parts and {len(programs)} more are asked for, at most "
            f"{max_parts} can be written: ask for fewer"
        )
    declared = [(program, 0, index) for index, program in enumerate(old)]
    for index, program in enumerate(programs):
        declared.insert(
            bisect_right(declared, program, key=lambda part: part[0]), (program, 1, index)
        )
    moved = [declared.index((program, 0, index)) for index, program in enumerate(old)]
    added = [declared.index((program, 1, index)) for index, program in enumerate(programs)]
    keys = table.keys.copy()
    sounds = np.flatnonzero(table.values.types >= _PEDAL_UP)
    parts = np.array(moved, dtype=np.int64)[table.values.parts[sounds]]
    keys[sounds] &= ~np.int64(PART_MASK << PART_SHIFT)
    keys[sounds] |= parts << PART_SHIFT
    header = table.header._replace(programs=tuple(program for program, _, _ in declared))
    return EventTable(header, keys, is_complete=table.is_complete), moved, added
