"""Windows of so many tokens from anywhere in a corpus, each with the header in force."""

from collections.abc import Iterator, Sequence

import numpy as np

from rwkv_music.data.pieces import Ids, Piece
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import BarIndex, Tokenizer
from rwkv_music.tokenizer.bar_index import index_bars

_DRAWN_TOGETHER = 1024


class RandomWindows(Iterator[Ids]):
    """Token ids without end: each window begins at a bar line and holds as many bars as fit.

    Every token of the pieces is equally likely to lie in the bar that a window begins with. A
    window near a piece's end is shorter. The first bar is cut only if it does not fit by itself.

    Args:
        pieces: Where windows come from; those of a token store need not be read before.
        tokenizer: The one that made them.
        most_tokens: In a window, its header included.
        seed: Fixes the windows.

    Raises:
        InputError: If there is no piece, or so few tokens cannot hold a header and a note.

    Example:
        windows = RandomWindows(store.train, store.tokenizer, most_tokens=1024, seed=0)
        ids = next(windows)
    """

    def __init__(
        self, pieces: Sequence[Piece], tokenizer: Tokenizer, *, max_tokens: int, seed: int
    ) -> None:
        if not pieces:
            raise InputError("there is no piece to take windows from: add files")
        self._pieces = pieces
        self._tokenizer = tokenizer
        self._most = max_tokens
        self._generator = np.random.default_rng(seed)
        self._ends = np.cumsum([len(piece.ids) for piece in pieces])
        self._drawn: list[tuple[int, int]] = []

    def __next__(self) -> Ids:
        """The next window."""
        if not self._drawn:
            self._draw()
        place, token = self._drawn.pop()
        piece = self._pieces[place]
        bar_index = piece.bar_index
        if bar_index is None:
            bar_index = index_bars(piece.ids, self._tokenizer.vocabulary)
        bar = max(int(np.searchsorted(bar_index["bar"], token, side="right")) - 1, 0)
        return BarIndex(piece.ids, self._tokenizer, bar_index).fitting(bar, self._most)

    def _draw(self) -> None:
        tokens = self._generator.integers(self._ends[-1], size=_DRAWN_TOGETHER)
        places = np.searchsorted(self._ends, tokens, side="right")
        before = np.append(0, self._ends)[places]
        self._drawn = list(zip(places.tolist(), (tokens - before).tolist(), strict=True))
