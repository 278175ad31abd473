"""Windows of whole bars cut from pieces: prompt bars, followed by the bars to complete.

Every window begins with the header that is active at its first bar (tempo, time signature, parts):
`BarIndex.window` writes it. Nothing in this module slices token ids.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, SupportsIndex, overload

import numpy as np
from jaxtyping import Bool, Int64

from rwkv_music.data.pieces import Ids, Piece
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import BarIndex, Tokenizer
from rwkv_music.tokenizer.bar_index import BarRows, index_bars


@dataclass(frozen=True)
class Example:
    """One training example: token ids and the beginning of the completion."""

    ids: Ids
    completion_start: int
    """Index in `ids` of the first token that is scored: the BAR that opens the completion."""
    scored: Bool[np.ndarray, " tokens"] | None = None
    """Which tokens are scored, in a stream with a hole; when None, all from `completion_start`."""

    def is_scored(self) -> Bool[np.ndarray, " tokens"]:
        """Return for each token whether it is scored."""
        if self.scored is not None:
            return self.scored
        return np.arange(len(self.ids)) >= self.completion_start


class CompletionSpan(NamedTuple):
    """The bars of a completion: from `start` up to but not including `stop` of a piece."""

    piece: int
    """Index in `Windows.pieces`."""
    start: int
    stop: int


class CompletionSpans(Sequence[CompletionSpan]):
    """Completions that tile pieces, computed on access: millions of them take no memory.

    Args:
        bars: Bars of each piece, at least 2.
        completion_bars: Bars per completion; fewer at the end of a piece.
        offset: Bars in the first completion of a piece, `completion_bars` if 0.
    """

    def __init__(
        self, bars: Int64[np.ndarray, " pieces"], completion_bars: int, offset: int
    ) -> None:
        self._bars = bars
        self._step = completion_bars
        self._first = offset or completion_bars
        # The first bar of a piece is never completed.
        after_first = np.maximum(bars - 1 - self._first, 0)
        self._ends = np.cumsum(1 - (-after_first // completion_bars))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @overload
    def __getitem__(self, index: SupportsIndex) -> CompletionSpan: ...
    @overload
    def __getitem__(self, index: slice) -> "list[CompletionSpan]": ...
    def __getitem__(self, index: SupportsIndex | slice) -> "CompletionSpan | list[CompletionSpan]":
        if isinstance(index, slice):
            return [self[item] for item in range(*index.indices(len(self)))]
        span = range(len(self))[index]
        piece = int(np.searchsorted(self._ends, span, side="right"))
        before = span - (int(self._ends[piece - 1]) if piece else 0)
        start = 1 if not before else 1 + self._first + (before - 1) * self._step
        stop = 1 + self._first + before * self._step
        return CompletionSpan(piece, start, min(stop, int(self._bars[piece])))


class Windows:
    """All windows of whole bars over a list of pieces.

    The bars of a piece, except its first one, are tiled with completions of `completion_bars`
    (fewer at the end). Each window is one completion and the `prompt_bars` before it (fewer near
    the beginning of the piece, but at least one). An offset moves the tiles; at every offset each
    bar is completed exactly once.

    Args:
        pieces: The pieces. Those of a single bar are left out and named in `too_short`.
        tokenizer: The tokenizer that made their ids.
        prompt_bars: Maximum number of prompt bars.
        completion_bars: Maximum number of bars to complete.

    Raises:
        InputError: If a number is below 1, or no piece has two bars.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        tokenizer: Tokenizer,
        *,
        prompt_bars: int,
        completion_bars: int,
    ) -> None:
        for name, value in {"prompt_bars": prompt_bars, "completion_bars": completion_bars}.items():
            if value < 1:
                raise InputError(f"{name} must be at least 1 bar, got {value}")
        self.tokenizer = tokenizer
        self.prompt_bars = prompt_bars
        self.completion_bars = completion_bars
        indexes = [_bar_index_of(piece, tokenizer) for piece in pieces]
        bars = np.array([len(bar_index) for bar_index in indexes], dtype=np.int64)
        self.too_short = [pieces[index].name for index in np.flatnonzero(bars < 2).tolist()]
        usable = np.flatnonzero(bars >= 2).tolist()
        if not usable:
            raise InputError(
                f"none of the {len(pieces)} pieces has 2 bars, one to prompt with and one to "
                f"complete ({', '.join(self.too_short[:3]) or 'no piece given'}): add longer pieces"
            )
        self.pieces = [pieces[index] for index in usable]
        self._bar_indexes = [indexes[index] for index in usable]
        self._bars = bars[usable]

    def spans(self, *, offset: int = 0) -> CompletionSpans:
        """Return the completion of every window, in the order of the pieces.

        Args:
            offset: Bars in the first completion of each piece, if not 0.
        """
        return CompletionSpans(self._bars, self.completion_bars, offset)

    def example(self, span: CompletionSpan) -> Example:
        """Return the window of a completion."""
        start = max(0, span.start - self.prompt_bars)
        piece = self.pieces[span.piece]
        index = BarIndex(piece.ids, self.tokenizer, self._bar_indexes[span.piece])
        window = index.window(start, span.stop, completion_bar=span.start)
        return Example(ids=window.ids, completion_start=window.completion_start)

    def __len__(self) -> int:
        """Return the number of windows at offset 0."""
        return len(self.spans())

    def __iter__(self) -> Iterator[Example]:
        """Iterate over the windows at offset 0 in order, which validation uses."""
        return (self.example(span) for span in self.spans())


def _bar_index_of(piece: Piece, tokenizer: Tokenizer) -> BarRows:
    if piece.bar_index is not None:
        return piece.bar_index
    return index_bars(piece.ids, tokenizer.vocabulary)
