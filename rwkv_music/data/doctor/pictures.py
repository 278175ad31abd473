"""Pictures of a folder of music: lengths, pitches, durations and time signatures."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rwkv_music.data.doctor.file_report import DURATION_EDGES, NoteStatistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rwkv_music.data.doctor.folder_report import FolderReport

_COLOR = "#0072B2"
_MAX_SIGNATURES = 12
_LOG_RATIO = 8
"""From this ratio of the longest to the shortest piece, the axis of lengths is logarithmic."""
_DURATION_NAMES = {0.125: "32nd", 0.25: "16th", 0.5: "8th", 1.0: "quarter", 2.0: "half",
                   4.0: "whole", 16.0: "4 wholes"}  # fmt: skip


def save_pictures(report: "FolderReport", folder: str | Path) -> list[Path]:
    """Write each picture as a PNG file.

    Args:
        report: The report whose usable files are shown.
        folder: Folder to write to; created if it is missing.

    Returns:
        The paths: lengths, pitches, durations, signatures.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, draw in _PICTURES.items():
        figure = _new_figure((7, 3.6))
        draw(report, figure.subplots())
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=120)
    return paths


def draw_overview(report: "FolderReport", *, text_color: str = "black") -> "Figure":
    """Draw all pictures in one figure with a transparent background.

    Args:
        report: The report whose usable files are shown.
        text_color: Color of axes and text.
    """
    figure = _new_figure((11, 5.2))
    figure.patch.set_alpha(0)
    for draw, axes in zip(_PICTURES.values(), figure.subplots(2, 2).flat, strict=True):
        draw(report, axes)
        axes.patch.set_alpha(0)
        axes.tick_params(which="both", colors=text_color)
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
            text.set_color(text_color)
        for spine in axes.spines.values():
            spine.set_color(text_color)
    return figure


def _new_figure(size: tuple[float, float]) -> "Figure":
    """Return a figure that is not registered with pyplot, so that no global state remains."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _draw_lengths(report: "FolderReport", axes: "Axes") -> None:
    bars = np.array([file.bars for file in report.usable if file.bars])
    axes.set(title="Length of the pieces", xlabel="bars", ylabel="files")
    if not len(bars):
        return
    low, high = int(bars.min()), int(bars.max())
    spaced = np.geomspace if high >= _LOG_RATIO * low else np.linspace
    edges = np.unique(spaced(low, high + 1, 31).astype(int))
    axes.hist(bars, bins=edges.tolist(), color=_COLOR, edgecolor="white", linewidth=0.4)
    if high >= _LOG_RATIO * low:
        axes.set_xscale("log")
        _set_plain_ticks(axes, low, high)


def _set_plain_ticks(axes: "Axes", low: int, high: int) -> None:
    """Label a logarithmic axis of bars with plain numbers."""
    ticks = [digit * 10**power for power in range(6) for digit in (1, 2, 5)]
    shown = [tick for tick in ticks if low <= tick <= high] or [low]
    axes.set_xticks(shown, [f"{tick:,}" for tick in shown])
    axes.set_xticks([], minor=True)


def _draw_pitches(report: "FolderReport", axes: "Axes") -> None:
    counts = sum((entry.pitches for entry in _statistics(report)), np.zeros(128, dtype=np.int64))
    axes.set(title="Pitches (without drums)", xlabel="C4 is middle C", ylabel="notes")
    axes.bar(np.arange(128), counts, width=1.0, color=_COLOR)
    used = np.flatnonzero(counts)
    low, high = (used[0], used[-1]) if len(used) else (48, 72)
    axes.set_xlim(low - 1, high + 1)
    octaves = [pitch for pitch in range(int(low), int(high) + 1) if pitch % 12 == 0]
    axes.set_xticks(octaves, [f"C{pitch // 12 - 1}" for pitch in octaves])


def _draw_durations(report: "FolderReport", axes: "Axes") -> None:
    zeros = np.zeros(len(DURATION_EDGES) - 1, dtype=np.int64)
    counts = sum((entry.durations for entry in _statistics(report)), zeros)
    axes.set(title="Durations (without drums)", ylabel="notes")
    # Each bar is centered on its lower edge, where the written durations are.
    axes.bar(np.arange(len(counts)), counts, color=_COLOR, width=0.9)
    ticks = {
        2 * np.log2(quarters / DURATION_EDGES[0]): name
        for quarters, name in _DURATION_NAMES.items()
    }
    axes.set_xticks(list(ticks), list(ticks.values()), rotation=30, ha="right")


def _draw_signatures(report: "FolderReport", axes: "Axes") -> None:
    counts = Counter(name for file in report.usable for name in file.time_signatures)
    axes.set(title="Time signatures", ylabel="files")
    shown = counts.most_common(_MAX_SIGNATURES)
    others = sum(counts.values()) - sum(count for _, count in shown)
    names = [name for name, _ in shown] + (["others"] if others else [])
    axes.bar(names, [count for _, count in shown] + ([others] if others else []), color=_COLOR)


def _statistics(report: "FolderReport") -> list[NoteStatistics]:
    return [file.statistics for file in report.usable if file.statistics is not None]


_PICTURES: dict[str, Callable[["FolderReport", "Axes"], None]] = {
    "lengths": _draw_lengths,
    "pitches": _draw_pitches,
    "durations": _draw_durations,
    "signatures": _draw_signatures,
}
