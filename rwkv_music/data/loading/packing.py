"""Which examples share a row of a batch, so that next to nothing of it is padding.

Windows of music differ in length many times over. Padded to the longest one, half a random batch is
empty; several of them in one row, each beginning anew, fill it. A model whose state and token shift
are reset where an example begins computes for it what it would alone.
"""

import heapq
from collections.abc import Sequence

from rwkv_music.data.loading.collate import Batch, all_tokens, pack_rows
from rwkv_music.data.loading.completion_windows import Example
from rwkv_music.errors import InputError

MAX_PADDING = 0.03
"""Share of a packed batch that may be padding. One row has none: it is what is left if need be."""


def pack(
    examples: Sequence[Example], *, padding_id: int = 0, max_padding: float = MAX_PADDING
) -> Batch:
    """A batch of all examples, several in a row.

    Its completions are those of `collate`, and with `resets` so are their loss and its gradients.

    Args:
        examples: At least one; each must have a token before its completion and one in it.
        padding_id: What fills the tails of rows. It is never scored.
        max_padding: Share of the batch that may be padding, in [0, 1).

    Raises:
        InputError: As `collate`, and if the share is out of range.

    Example:
        >>> import numpy as np
        >>> music = [Example(np.arange(1, n + 1, dtype=np.uint16), 1) for n in (5, 3, 3)]
        >>> pack(music).tokens.tolist()
        [[1, 2, 3, 4], [1, 2, 1, 2]]
    """
    if not 0 <= max_padding < 1:
        raise InputError(f"max_padding must be in [0, 1), got {max_padding}")
    lengths = [len(example.ids) - 1 for example in examples]
    rows = bin_by_length(lengths, max_padding=max_padding)
    return pack_rows(
        [[all_tokens(examples[place]) for place in row] for row in rows], padding_id=padding_id
    )


def bin_by_length(lengths: Sequence[int], *, max_padding: float = MAX_PADDING) -> list[list[int]]:
    """As many rows as there can be with little padding, since rows are computed side by side.

    Args:
        lengths: Of what is to be placed.
        max_padding: Share of the rows that may be left empty.

    Returns:
        For each row the places in `lengths` it holds.
    """
    total, longest = sum(lengths), max(lengths, default=0)
    if not longest:
        return [[place] for place in range(len(lengths))]
    # No row is shorter than the longest example: more rows than this are emptier than allowed.
    most_rows = int(total / (longest * (1 - max_padding)))
    for number in range(min(most_rows, len(lengths)), 1, -1):
        rows = balance(lengths, number)
        height = max(sum(lengths[place] for place in row) for row in rows)
        if number * height * (1 - max_padding) <= total:
            return rows
    return balance(lengths, 1)


def balance(lengths: Sequence[int], number: int) -> list[list[int]]:
    """Rows of about equal length: the longest examples first, each to the row that has least.

    The longest row is at most 4/3 of what it would be at best (Graham, "Bounds on multiprocessing
    timing anomalies", 1969).
    """
    rows: list[list[int]] = [[] for _ in range(number)]
    filled = [(0, row) for row in range(number)]
    for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        length, row = heapq.heappop(filled)
        rows[row].append(place)
        heapq.heappush(filled, (length + lengths[place], row))
    return rows
