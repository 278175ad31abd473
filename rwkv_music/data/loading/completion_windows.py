"""Windows of whole bars, cut from pieces: some bars of prompt and the bars to complete.

Every window begins with the header that is active at its first bar (tempo, time signature, parts):
`BarIndex.window` writes it. Nothing in this module slices token ids.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, SupportsIndex, overload

import numpy as np
from jaxtyping import Int64

from rwkv_music.data.pieces import Ids, Piece
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import BarIndex, Tokenizer
from rwkv_music.tokenizer.bar_index import BarRows, index_bars


@dataclass(frozen=True)
class Example:
    """One training example: token ids and the place where the completion begins."""

    ids: Ids
    completion_start: int
    """Index in `ids` of the bar token that opens the completion."""


class CompletionSpan(NamedTuple):
    """A completion's place: the bars from `seam` up to but not including `stop` of a piece."""

    piece: int
    """Index in `Windows.pieces`."""
    seam: int
    stop: int


class CompletionSpans(Sequence[CompletionSpan]):
    """Completions that tile pieces, found when they are asked for: millions take no memory.

    Args:
        bars: Bars of each piece, at least 2.
        completion_bars: Bars in a completion; fewer at a piece's end.
        offset: Bars in the first completion of a piece, `completion_bars` if 0.
    """

    def __init__(
        self, bars: Int64[np.ndarray, " pieces"], completion_bars: int, offset: int
    ) -> None:
        self._bars = bars
        self._step = completion_bars
        self._first = offset or completion_bars
        # The first bar of a piece is never completed.
        behind_first = np.maximum(bars - 1 - self._first, 0)
        self._ends = np.cumsum(1 - (-behind_first // completion_bars))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @overload
    def __getitem__(self, place: SupportsIndex) -> CompletionSpan: ...
    @overload
    def __getitem__(self, place: slice) -> "list[CompletionSpan]": ...
    def __getitem__(self, place: SupportsIndex | slice) -> "CompletionSpan | list[CompletionSpan]":
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        wanted = range(len(self))[place]
        piece = int(np.searchsorted(self._ends, wanted, side="right"))
        before = wanted - (int(self._ends[piece - 1]) if piece else 0)
        seam = 1 if not before else 1 + self._first + (before - 1) * self._step
        stop = 1 + self._first + before * self._step
        return CompletionSpan(piece, seam, min(stop, int(self._bars[piece])))


def _with_bar_index(piece: Piece, tokenizer: Tokenizer) -> tuple[Piece, BarRows]:
    if piece.bar_index is not None:
        return piece, piece.bar_index
    return piece, index_bars(piece.ids, tokenizer.vocabulary)


class Windows:
    """All windows of whole bars that slide over a list of pieces.

    The bars of a piece, its first one excepted, are tiled with completions of `completion_bars`
    (fewer at the end). Each window is one completion and the `prompt_bars` before it (fewer near
    the piece's beginning, but at least one). Moving the tiles by an offset slides the windows; at
    every offset each bar is completed exactly once.

    Args:
        pieces: What to cut. Pieces of a single bar are passed over and named in `too_short`.
        tokenizer: The one that made the ids.
        prompt_bars: Bars given at most.
        completion_bars: Bars to complete at most.

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
        indexed = [_with_bar_index(piece, tokenizer) for piece in pieces]
        bars = np.array([len(bar_index) for _, bar_index in indexed], dtype=np.int64)
        self.too_short = [indexed[place][0].name for place in np.flatnonzero(bars < 2).tolist()]
        usable = [each for each in indexed if len(each[1]) >= 2]
        if not usable:
            raise InputError(
                f"none of the {len(pieces)} pieces has 2 bars, one to prompt with and one to "
                f"complete ({', '.join(self.too_short[:3]) or 'no piece given'}): add longer pieces"
            )
        self.pieces = [piece for piece, _ in usable]
        self._bar_indexes = [bar_index for _, bar_index in usable]
        self._bars = bars[bars >= 2]

    def spans(self, *, offset: int = 0) -> "CompletionSpans":
        """Where every window's completion lies, in the order of the pieces.

        Args:
            offset: Bars in the first completion of each piece, if not 0; the others follow.
        """
        return CompletionSpans(self._bars, self.completion_bars, offset)

    def example(self, span: CompletionSpan) -> Example:
        """The window that completes a span."""
        start = max(0, span.seam - self.prompt_bars)
        piece = self.pieces[span.piece]
        index = BarIndex(piece.ids, self.tokenizer, self._bar_indexes[span.piece])
        window = index.window(start, span.stop, seam=span.seam)
        return Example(ids=window.ids, completion_start=window.completion_start)

    def __len__(self) -> int:
        """Number of windows at offset 0."""
        return len(self.spans())

    def __iter__(self) -> Iterator[Example]:
        """Every window at offset 0, in order: what validation reads."""
        return (self.example(span) for span in self.spans())
