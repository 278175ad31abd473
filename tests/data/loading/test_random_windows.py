"""Random windows: whole bars, the active header, and at most the requested number of tokens."""

import itertools

import numpy as np
import pytest

from rwkv_music.data import Piece, RandomWindows
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import BarIndex, Tokenizer
from tests.music import piece

TOKENIZER = Tokenizer()
PIECES = [piece(9), piece(2, seed=1), piece(30, seed=2)]


def take(number: int, *, most: int = 120, seed: int = 0) -> list[np.ndarray]:
    windows = RandomWindows(PIECES, TOKENIZER, max_tokens=most, seed=seed)
    return list(itertools.islice(windows, number))


def test_every_random_window_is_a_window_of_a_piece() -> None:
    possible = {
        BarIndex(piece.ids, TOKENIZER).fitting(bar, 120).tobytes()
        for piece in PIECES
        for bar in range(TOKENIZER.num_bars(piece.ids))
    }
    actual = [ids.tobytes() for ids in take(500)]
    assert set(actual) <= possible
    assert len(set(actual)) == len(possible)
    assert max(len(ids) for ids in take(500)) <= 120


def test_pieces_are_drawn_in_proportion_to_their_tokens() -> None:
    # The first bars of the three pieces differ; windows of the whole piece tell which it was.
    windows = RandomWindows(PIECES, TOKENIZER, max_tokens=120, seed=1)
    fraction = len(PIECES[2].ids) / sum(len(piece.ids) for piece in PIECES)
    windows._draw()
    drawn = np.mean([index == 2 for index, _ in windows._drawn])
    assert abs(drawn - fraction) < 5 * np.sqrt(fraction * (1 - fraction) / 1024)


def test_a_seed_repeats_its_windows() -> None:
    first, again, other = take(50), take(50), take(50, seed=1)
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(first, again, strict=True))
    assert not all(np.array_equal(mine, theirs) for mine, theirs in zip(first, other, strict=True))


def test_no_pieces_or_too_few_tokens_are_refused() -> None:
    with pytest.raises(InputError, match="there is no piece to take windows from"):
        RandomWindows([], TOKENIZER, max_tokens=100, seed=0)
    tiny = RandomWindows([Piece("a", PIECES[0].ids, "a")], TOKENIZER, max_tokens=8, seed=0)
    with pytest.raises(InputError, match="does not begin within 8 tokens"):
        next(tiny)
