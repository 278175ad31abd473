"""Random windows of a given number of tokens, each with the header that is active there."""

from collections.abc import Iterator, Sequence

import numpy as np

from rwkv_music.data.pieces import Ids, Piece
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import BarIndex, Tokenizer
from rwkv_music.tokenizer.bar_index import index_bars

_DRAWS = 1024
"""Random numbers drawn at once."""


class RandomWindows(Iterator[Ids]):
    """Endless token ids: each window begins at a bar line and contains as many bars as fit.

    Every token of the pieces is equally likely to be in the first bar of a window. A window near
    the end of a piece is shorter. The first bar is cut only if it does not fit by itself.

    Args:
        pieces: The pieces; those of a token store are read when they are needed.
        tokenizer: The tokenizer that made their ids.
        max_tokens: Maximum length of a window, including its header.
        seed: Seed of the windows.

    Raises:
        InputError: If there is no piece, or `max_tokens` is too small for a header and a note.

    Example:
        windows = RandomWindows(store.train, store.tokenizer, max_tokens=1024, seed=0)
        ids = next(windows)
    """

    def __init__(
        self, pieces: Sequence[Piece], tokenizer: Tokenizer, *, max_tokens: int, seed: int
    ) -> None:
        if not pieces:
            raise InputError("there is no piece to take windows from: add files")
        self._pieces = pieces
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._generator = np.random.default_rng(seed)
        self._ends = np.cumsum([len(piece.ids) for piece in pieces])
        self._drawn: list[tuple[int, int]] = []

    def __next__(self) -> Ids:
        """Return the next window."""
        if not self._drawn:
            self._draw()
        index, token = self._drawn.pop()
        piece = self._pieces[index]
        bar_index = piece.bar_index
        if bar_index is None:
            bar_index = index_bars(piece.ids, self._tokenizer.vocabulary)
        bar = max(int(np.searchsorted(bar_index["bar"], token, side="right")) - 1, 0)
        return BarIndex(piece.ids, self._tokenizer, bar_index).fitting(bar, self._max_tokens)

    def _draw(self) -> None:
        tokens = self._generator.integers(self._ends[-1], size=_DRAWS)
        pieces = np.searchsorted(self._ends, tokens, side="right")
        starts = np.append(0, self._ends)[pieces]
        self._drawn = list(zip(pieces.tolist(), (tokens - starts).tolist(), strict=True))
