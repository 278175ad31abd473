"""Turn windows into holes at random: bars and parts to write, with music around them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from rwkv_music.data.loading.completion_windows import Example
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import BarIndex, Tokenizer, TokenType
from rwkv_music.tokenizer.holes import Hole, cut_hole, measure_hole, write_hole
from rwkv_music.tokenizer.holes.control_levels import ControlLevels
from rwkv_music.tokenizer.vocabulary import MAX_HOLE_BARS

Cells = Bool[np.ndarray, "bars parts"]
_TRIES = 4
"""So many holes are drawn until one has notes to write; then the window stays as it is."""


@dataclass(frozen=True, kw_only=True)
class RandomHoles:
    """Turns a share of the examples into holes.

    There are four kinds of hole, each as frequent as the others:

    - 1 to 8 bars of all parts;
    - one part in up to 8 bars;
    - each part of each bar with a probability between 0.2 and 0.8;
    - 2 to 4 bars of most parts.

    Half of the holes state controls, each of which is left out at random, so that a model learns
    to do without any of them.
    """

    tokenizer: Tokenizer
    fraction: float = 0.5
    """Fraction of examples that become holes."""
    suffix_first_fraction: float = 0.2
    """Fraction of holes whose stream begins with the bars behind them."""
    controls_fraction: float = 0.5
    """Fraction of holes that state controls."""

    def __post_init__(self) -> None:
        for name in ("fraction", "suffix_first_fraction", "controls_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be in [0, 1], got {getattr(self, name)}")

    def __call__(self, example: Example, generator: np.random.Generator) -> Example:
        """Return the example as a hole, or as it is."""
        if generator.random() >= self.fraction:
            return example
        index = BarIndex(example.ids, self.tokenizer)
        for _ in range(_TRIES):
            hole = self._draw(index, generator)
            if hole is not None:
                stream = write_hole(hole, self.tokenizer.vocabulary)
                start = int(stream.scored.argmax())
                return Example(ids=stream.ids, completion_start=start, scored=stream.scored)
        return example

    def _draw(self, index: BarIndex, generator: np.random.Generator) -> Hole | None:
        """Return a random hole; None if there are no notes to write in it."""
        cells = _random_cells(index, generator)
        start = int(generator.integers(index.num_bars - len(cells) + 1))
        suffix_first = bool(generator.random() < self.suffix_first_fraction)
        if not cells.any():
            return None
        hole = cut_hole(
            index, start, cells, first=0, last=index.num_bars, suffix_first=suffix_first
        )
        levels = measure_hole(hole, self.tokenizer.vocabulary)
        if not levels:
            return None
        if not self.tokenizer.vocabulary.has_controls:
            return hole
        return hole.with_controls(_some_of(levels, self.controls_fraction, generator))


def _random_cells(index: BarIndex, generator: np.random.Generator) -> Cells:
    """Return which parts are to be written in which bars of a hole."""
    longest, parts = min(MAX_HOLE_BARS, index.num_bars), index.num_parts
    choice = generator.integers(4)
    bars = int(generator.integers(1, longest + 1))
    if choice == 1:
        cells = np.zeros((max(bars, min(longest, 4)), parts), dtype=bool)
        cells[:, generator.integers(parts)] = True
    elif choice == 2:
        cells = generator.random((bars, parts)) < generator.uniform(0.2, 0.8)
    elif choice == 3:
        cells = np.ones((min(longest, int(generator.integers(2, 5))), parts), dtype=bool)
        cells[:, generator.random(parts) < 0.25] = False
    else:
        cells = np.ones((bars, parts), dtype=bool)
    return cells


def _some_of(
    levels: ControlLevels, fraction: float, generator: np.random.Generator
) -> ControlLevels:
    """Return some of the controls; in most holes none, or only those of the whole hole."""
    if generator.random() >= fraction:
        return {}
    with_parts = generator.random() < 1 / 3
    kept: ControlLevels = {}
    for part, own in levels.items():
        if part is not None and not with_parts:
            continue
        chosen: dict[TokenType, int] = {
            control: level for control, level in own.items() if generator.random() < 0.5
        }
        if chosen:
            kept[part] = chosen
    return kept
