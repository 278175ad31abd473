"""What a hole consists of, and how it is cut out of a piece."""

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, UInt16

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.holes.control_levels import ControlLevels
from rwkv_music.tokenizer.holes.edge import end_notes_at_edge
from rwkv_music.tokenizer.vocabulary import MAX_HOLE_BARS, Vocabulary
from rwkv_music.tokenizer.windows import BarIndex

Ids = UInt16[np.ndarray, " _"]
Cells = Bool[np.ndarray, "bars parts"]


@dataclass(frozen=True)
class Hole:
    """Bars of a piece in which some parts are to be written, and the bars around them.

    The three windows declare the same parts. Each is a window as `BarIndex.window` returns it.
    """

    prefix: Ids
    """The bars in front of the hole; empty if there are none."""
    fill: Ids
    """The bars of the hole, complete: what is given in them, and what is to be written."""
    suffix: Ids
    """The bars behind the hole; empty if there are none."""
    cells: Cells
    """Which parts are to be written in which bars of the hole."""
    controls: ControlLevels = field(default_factory=dict)
    """Control tokens: those of the whole hole under None, those of a part under its index."""
    suffix_first: bool = False
    """Whether the stream begins with the bars behind the hole."""

    def __post_init__(self) -> None:
        bars = len(self.cells)
        if not 1 <= bars <= MAX_HOLE_BARS:
            raise InputError(
                f"a hole has 1 to {MAX_HOLE_BARS} bars, got {bars}: fill longer passages in "
                "several steps"
            )
        if not self.cells.any():
            raise InputError("nothing is to be written: choose at least one part of one bar")

    def with_controls(self, controls: ControlLevels) -> "Hole":
        """Return the hole with other controls."""
        return replace(self, controls=controls)

    @property
    def written(self) -> tuple[int, ...]:
        """Indices of the parts that are written somewhere in the hole."""
        return tuple(np.flatnonzero(self.cells.any(axis=0)).tolist())


@dataclass(frozen=True)
class HoleStream:
    """A hole as token ids."""

    ids: Ids
    scored: Bool[np.ndarray, " tokens"]
    """Which tokens a model writes: those of the hole's events, its bar lines but the first, EOS."""


def cut_hole(
    index: BarIndex, start: int, cells: Cells, *, first: int, last: int, suffix_first: bool = False
) -> Hole:
    """Cut a hole out of a piece; notes that sound beyond the hole's end are shortened.

    Args:
        index: Bars of the piece.
        start: First bar of the hole, counted from 0.
        cells: Which parts are to be written in which bars from there.
        first: First bar of the context.
        last: The bar after the last one of the context.
        suffix_first: Whether the stream is to begin with the bars behind the hole.

    Raises:
        InputError: If the bars are not in the piece, or the hole is too long or empty.
    """
    stop, vocabulary = start + len(cells), index.vocabulary
    if not 0 <= first <= start < stop <= last <= index.num_bars:
        raise InputError(
            f"the hole [{start}, {stop}) in the context [{first}, {last}) is not in this piece of "
            f"{index.num_bars} bars"
        )
    nothing = np.zeros(0, dtype=np.uint16)
    return Hole(
        prefix=index.window(first, start).ids if first < start else nothing,
        fill=end_notes_at_edge(without_eos(index.window(start, stop).ids, vocabulary), vocabulary),
        suffix=without_eos(index.window(stop, last).ids, vocabulary) if stop < last else nothing,
        cells=cells,
        suffix_first=suffix_first and first < start and stop < last,
    )


def without_eos(ids: Ids, vocabulary: Vocabulary) -> Ids:
    """Return a window without the EOS of the piece's end."""
    return ids[:-1] if ids[-1] == vocabulary.EOS else ids
