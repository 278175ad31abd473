"""A training example as a picture: its notes and every token, given or to be completed."""

from typing import TYPE_CHECKING

import numpy as np

from rwkv_music.data.loading.collate import Batch
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Tokenizer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GIVEN_COLOR, SCORED_COLOR = "#b5bac0", "#d55e00"
_CELL_QUARTERS = 0.22


def draw_example(
    batch: Batch, tokenizer: Tokenizer, *, row: int = 0, figure: "Figure | None" = None
) -> "Figure":
    """Draw one row of a batch: piano roll above, tokens below, over the same time axis.

    Each token is a cell at the time that it refers to. Colors, the dashed line and the frames
    around notes are all taken from the batch's completion mask.

    Args:
        batch: A batch made by `collate`.
        tokenizer: The tokenizer that made the ids.
        row: Row of the batch.
        figure: An empty figure to draw into; a new one when None.

    Raises:
        InputError: If there is no such row.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from rwkv_music.score import draw_piano_roll

    if not 0 <= row < len(batch.tokens):
        raise InputError(f"row must be in [0, {len(batch.tokens)}), got {row}")
    ids = np.append(batch.tokens[row, :1].numpy(), batch.targets[row].numpy())
    # The first token is never a target.
    is_scored = np.append([False], batch.completion_mask[row].numpy())
    is_music = ids != tokenizer.vocabulary.PAD
    ids, is_scored = ids[is_music], is_scored[is_music]
    times = tokenizer.token_times(ids)
    score = tokenizer.decode(ids)
    figure = figure or Figure(figsize=(11, 5.2), layout="constrained")
    notes, cells = figure.subplots(2, sharex=True, height_ratios=[3, 2])
    draw_piano_roll(score, continuation_start=int(times[is_scored][0]), axes=notes)
    _frame_scored_notes(notes, ids, times, is_scored, tokenizer)
    _draw_cells(cells, times / tokenizer.vocabulary.steps_per_quarter, is_scored)
    cells.set(xlabel="bar", ylabel="tokens")
    cells.set_title(
        f"{is_scored.sum()} of {len(ids)} tokens count in the loss", loc="left", fontsize=10
    )
    markers = [
        Line2D([], [], marker="s", linestyle="", color=color)
        for color in (GIVEN_COLOR, SCORED_COLOR)
    ]
    cells.legend(
        markers, ["given", "to complete"], loc="upper left", bbox_to_anchor=(1, 1), frameon=False,
        fontsize=8,
    )  # fmt: skip
    notes.set_xlabel("")
    return figure


def _frame_scored_notes(
    axes: "Axes", ids: np.ndarray, times: np.ndarray, is_scored: np.ndarray, tokenizer: Tokenizer
) -> None:
    """Draw a frame around each note whose duration, its last token, is to be completed."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    vocabulary = tokenizer.vocabulary
    is_duration = np.isin(ids, vocabulary.duration)
    frames = []
    for index in np.flatnonzero(is_duration & is_scored).tolist():
        pitch, duration = vocabulary.values[ids[[index - 2, index]]].tolist()
        start = times[index] / vocabulary.steps_per_quarter
        length = int(vocabulary.durations[duration]) / vocabulary.steps_per_quarter
        frames.append(Rectangle((start, pitch - 0.5), length, 1))
    axes.add_collection(
        PatchCollection(
            frames, facecolors="none", edgecolors=SCORED_COLOR, linewidths=1.2, zorder=4
        )
    )


def _draw_cells(axes: "Axes", quarters: np.ndarray, is_scored: np.ndarray) -> None:
    """Draw tokens of the same time above one another, the first one at the bottom."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    levels = np.arange(len(quarters)) - np.searchsorted(quarters, quarters)
    cells = [
        Rectangle((start, level + 0.06), _CELL_QUARTERS, 0.88)
        for start, level in zip(quarters.tolist(), levels.tolist(), strict=True)
    ]
    colors = np.where(is_scored, SCORED_COLOR, GIVEN_COLOR).tolist()
    axes.add_collection(PatchCollection(cells, facecolors=colors, linewidths=0))
    axes.set_ylim(0, int(levels.max()) + 1)
