"""Random holes for the tests."""

import numpy as np

from rwkv_music.tokenizer import BarIndex, Tokenizer
from rwkv_music.tokenizer.holes import Hole, cut_hole
from tests.tokens import random_score


def random_hole(tokenizer: Tokenizer, seed: int) -> Hole:
    """Return a hole of random music: all parts, one part, or some cells; any context."""
    rng = np.random.default_rng(seed)
    score = random_score(rng, ticks=96, free=bool(rng.integers(2)))
    index = BarIndex(tokenizer.encode(score), tokenizer)
    bars = int(rng.integers(1, min(8, index.num_bars) + 1))
    start = int(rng.integers(index.num_bars - bars + 1))
    cells = np.ones((bars, index.num_parts), dtype=bool)
    choice = rng.integers(3)
    if choice == 1:
        cells[:] = False
        cells[:, rng.integers(index.num_parts)] = True
    elif choice == 2:
        cells &= rng.random(cells.shape) < 0.6
        cells[rng.integers(bars), rng.integers(index.num_parts)] = True
    return cut_hole(
        index,
        start,
        cells,
        first=int(rng.integers(start + 1)),
        last=int(rng.integers(start + bars, index.num_bars + 1)),
        suffix_first=bool(rng.integers(2)),
    )
