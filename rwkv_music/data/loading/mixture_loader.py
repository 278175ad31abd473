"""Loaders of a mixture: each set contributes windows, or pieces, in proportion to its weight.

An epoch has as many windows (or pieces) as all sets together. A set gets its fraction of them: a
small set of large weight is read several times, each time at another window offset and in another
order, and of a large set of small weight a random part is read.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rwkv_music.data.loading.completion_windows import (
    CompletionSpan,
    CompletionSpans,
)
from rwkv_music.data.loading.long_context_loader import LongContextLoader
from rwkv_music.data.loading.window_loader import WindowLoader
from rwkv_music.data.pieces import Piece
from rwkv_music.errors import InputError

RangesOf = Callable[[Sequence[Piece]], list[range]]
"""Returns for each set the indices of its pieces: `Mixture.ranges`."""


@dataclass(eq=False, kw_only=True)
class MixtureWindowLoader(WindowLoader):
    """Endless batches of windows of a mixture; see `WindowLoader`.

    Raises:
        InputError: If a set has no window.
    """

    ranges_of: RangesOf
    """Tells the sets apart."""
    weights: Sequence[float]
    """Weight of each set."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._ranges = self.ranges_of(self.windows.pieces)
        _require_pieces(self._ranges)
        self._quotas = quotas(len(self.windows), self.weights)

    def _begin_epoch(self) -> None:
        """Draw the windows of each set, and shuffle them."""
        self._epoch_state = self._generator.bit_generator.state
        drawn: list[CompletionSpan] = []
        for pieces, quota in zip(self._ranges, self._quotas, strict=True):
            end = len(drawn) + quota
            while len(drawn) < end:
                drawn += self._shuffled(pieces, most=end - len(drawn))
        self._spans = [drawn[index] for index in self._generator.permutation(len(drawn))]
        self._pool_end = 0

    def _shuffled(self, pieces: range, *, most: int) -> list[CompletionSpan]:
        """Return windows of some pieces in random order, at a random offset."""
        offset = int(self._generator.integers(self.windows.completion_bars))
        spans = self.windows.spans(offset=offset)
        own = spans_of(spans, pieces)
        order = own.start + self._generator.permutation(len(own))
        return [spans[index] for index in order[:most].tolist()]


@dataclass(eq=False, kw_only=True)
class MixtureLongContextLoader(LongContextLoader):
    """Endless batches of whole pieces of a mixture; see `LongContextLoader`.

    Raises:
        InputError: If a set has no piece.
    """

    ranges_of: RangesOf
    """Tells the sets apart."""
    weights: Sequence[float]
    """Weight of each set; counts pieces, not tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._ranges = self.ranges_of(self.pieces)
        _require_pieces(self._ranges)
        self._quotas = quotas(len(self.pieces), self.weights)

    def _order(self, epoch: int) -> list[int]:
        """Return the pieces of an epoch, which are drawn once per epoch."""
        if epoch not in self._orders:
            generator = np.random.default_rng([self.seed, epoch])
            drawn: list[int] = []
            for pieces, quota in zip(self._ranges, self._quotas, strict=True):
                end = len(drawn) + quota
                while len(drawn) < end:
                    order = pieces.start + generator.permutation(len(pieces))
                    drawn += order[: end - len(drawn)].tolist()
            shuffled = generator.permutation(len(drawn))
            self._orders[epoch] = [drawn[index] for index in shuffled]
        return self._orders[epoch]


def spans_of(spans: CompletionSpans, pieces: range) -> range:
    """Return the indices of the completions of consecutive pieces."""
    indices = range(len(spans))
    first, stop = (
        bisect_left(indices, piece, key=lambda index: spans[index].piece)
        for piece in (pieces.start, pieces.stop)
    )
    return range(first, stop)


def evenly_spaced(sets: Sequence[range], weights: Sequence[float], *, most: int) -> list[int]:
    """Return all items of some sets, or of more than `most` evenly spaced ones of each set.

    Args:
        sets: Indices of the items of each set.
        weights: Number of items to take of each set, relative to the others.
        most: Total number to take; less if a set has fewer than its part.
    """
    counts = [len(items) for items in sets]
    if sum(counts) > most:
        counts = [min(pair) for pair in zip(counts, quotas(most, weights), strict=True)]
    return [
        items[index]
        for items, count in zip(sets, counts, strict=True)
        for index in np.linspace(0, len(items) - 1, count).round().astype(int).tolist()
    ]


def quotas(total: int, weights: Sequence[float]) -> list[int]:
    """Distribute a number in proportion to weights, as exactly as whole numbers allow.

    Example:
        >>> quotas(10, [2, 1, 1])
        [5, 3, 2]
    """
    exact = total * np.array(weights, dtype=np.float64) / sum(weights)
    whole = np.floor(exact).astype(np.int64)
    # The largest remainders are rounded up, the first of equal ones first.
    order = np.argsort(whole - exact, kind="stable")
    whole[order[: total - int(whole.sum())]] += 1
    return [int(quota) for quota in whole]


def _require_pieces(ranges: Sequence[range]) -> None:
    empty = [index for index, pieces in enumerate(ranges) if not pieces]
    if empty:
        raise InputError(
            f"corpus {empty[0] + 1} of the mixture has no piece to train on that is long enough: "
            "add longer ones, or leave this corpus out"
        )
