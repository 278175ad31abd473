"""Pack several examples into a row of a batch, so that little of it is padding.

Windows of music differ in length by large factors. Padded to the longest one, half of a random
batch is padding; with several windows per row almost nothing is. A model that resets its state and
token shift where an example begins computes the same for it as without packing.
"""

import heapq
from collections.abc import Sequence

from rwkv_music.data.loading.collate import Batch, full_span, pack_rows
from rwkv_music.data.loading.completion_windows import Example
from rwkv_music.errors import InputError

MAX_PADDING = 0.03
"""Fraction of a packed batch that may be padding. A single row has none, so it is always met."""


def pack(
    examples: Sequence[Example], *, padding_id: int = 0, max_padding: float = MAX_PADDING
) -> Batch:
    """Make a batch with several examples per row.

    Its completions are those of `collate`, and with `resets` so are their loss and its gradients.

    Args:
        examples: At least one; each needs a token before its completion and one in it.
        padding_id: Id that fills the ends of rows. It is never scored.
        max_padding: Fraction of the batch that may be padding, in [0, 1).

    Raises:
        InputError: As `collate`, and if the fraction is out of range.

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
        [[full_span(examples[index]) for index in row] for row in rows], padding_id=padding_id
    )


def bin_by_length(lengths: Sequence[int], *, max_padding: float = MAX_PADDING) -> list[list[int]]:
    """Distribute items over as many rows as little padding allows.

    Rows are computed in parallel, so that many short rows are faster than few long ones.

    Args:
        lengths: Length of each item.
        max_padding: Fraction of the rows that may be empty.

    Returns:
        For each row the indices of its items.
    """
    total, longest = sum(lengths), max(lengths, default=0)
    if not longest:
        return [[index] for index in range(len(lengths))]
    # No row is shorter than the longest item: with more rows than this, padding exceeds the limit.
    max_rows = int(total / (longest * (1 - max_padding)))
    for num_rows in range(min(max_rows, len(lengths)), 1, -1):
        rows = balance(lengths, num_rows)
        row_length = max(sum(lengths[index] for index in row) for row in rows)
        if num_rows * row_length * (1 - max_padding) <= total:
            return rows
    return balance(lengths, 1)


def balance(lengths: Sequence[int], num_rows: int) -> list[list[int]]:
    """Distribute items over rows of about equal length: longest first, each to the shortest row.

    The longest row is at most 4/3 of the optimum (Graham, "Bounds on multiprocessing timing
    anomalies", 1969).

    Args:
        lengths: Length of each item.
        num_rows: Number of rows.

    Returns:
        For each row the indices of its items.

    Example:
        >>> balance([5, 3, 3, 1], 2)
        [[0, 3], [1, 2]]
    """
    rows: list[list[int]] = [[] for _ in range(num_rows)]
    row_lengths = [(0, row) for row in range(num_rows)]
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        row_length, row = heapq.heappop(row_lengths)
        rows[row].append(index)
        heapq.heappush(row_lengths, (row_length + lengths[index], row))
    return rows
