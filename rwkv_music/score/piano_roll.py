"""Piano rolls as arrays and as static images."""

import colorsys
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from rwkv_music.atomic import write_atomic
from rwkv_music.errors import InputError, ScoreFileError, write_problem
from rwkv_music.score.instruments import program_name
from rwkv_music.score.timing import bar_starts, beat_ticks, last_offset
from rwkv_music.score.validation import check_score

if TYPE_CHECKING:
    import symusic
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PART_COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#882255", "#999933",
)  # fmt: skip
"""One hue per part, distinguishable with colour blindness (after Okabe and Ito)."""

_BLACK_KEYS = frozenset({1, 3, 6, 8, 10})
_MAX_BAR_NUMBERS = 24
_MAX_FRAMES = 4_000_000


def piano_roll(
    score: "symusic.Score", frames_per_quarter: int = 4
) -> UInt8[np.ndarray, "128 frames"]:
    """Return velocities by pitch and frame; 0 is silence. Of overlapping notes the louder counts.

    Args:
        score: In ticks; drums are left out.
        frames_per_quarter: Number of frames per quarter note.

    Raises:
        InputError: If there would be more than 4,000,000 frames, or a value is out of range.
    """
    check_score(score)
    per_tick = frames_per_quarter / score.ticks_per_quarter
    frames = int(np.ceil(last_offset(score) * per_tick))
    if frames > _MAX_FRAMES:
        raise InputError(
            f"a piano roll of {frames} frames is too large, at most {_MAX_FRAMES}: take fewer "
            "bars or fewer frames per quarter"
        )
    roll = np.zeros((128, frames), dtype=np.uint8)
    for track in score.tracks:
        if track.is_drum:
            continue
        for note in track.notes:
            first = int(note.time * per_tick)
            stop = max(first + 1, int(np.ceil((note.time + note.duration) * per_tick)))
            row = roll[note.pitch, first:stop]
            np.maximum(row, note.velocity, out=row)
    return roll


def draw_piano_roll(
    score: "symusic.Score", *, continuation_start: int | None = None, axes: "Axes | None" = None
) -> "Axes":
    """Draw notes over bars and pitches, one hue per part; louder notes are darker.

    Args:
        score: In ticks.
        continuation_start: Tick at which a continuation begins. A dashed line marks it; the area
            after it is tinted.
        axes: Axes to draw into; None for those of a new figure.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    check_score(score)
    axes = axes if axes is not None else _new_figure().subplots()
    quarter = score.ticks_per_quarter
    lowest, highest = _pitch_range(score)
    for pitch in range(lowest, highest + 1):
        if pitch % 12 in _BLACK_KEYS:
            axes.axhspan(pitch - 0.5, pitch + 0.5, color="#f2f2f2", zorder=0)
    for part_index, track in enumerate(score.tracks):
        hue = PART_COLORS[part_index % len(PART_COLORS)]
        bars = [
            Rectangle((note.time / quarter, note.pitch - 0.4), note.duration / quarter, 0.8)
            for note in track.notes
        ]
        colors = [_shade(hue, note.velocity) for note in track.notes]
        axes.add_collection(
            PatchCollection(bars, facecolors=colors, edgecolors="white", linewidths=0.4, zorder=2)
        )
        label = track.name or program_name(track.program, is_drum=track.is_drum)
        axes.plot([], [], color=hue, linewidth=5, label=label)
    _draw_time(axes, score)
    end = bar_starts(score)[-1] / quarter
    if continuation_start is not None:
        axes.axvline(
            continuation_start / quarter, color="#444444", linestyle="--", linewidth=1.2, zorder=3
        )
        axes.axvspan(continuation_start / quarter, end, color="#E69F00", alpha=0.08, zorder=0)
    axes.set_xlim(0, end)
    axes.set_ylim(lowest - 0.5, highest + 0.5)
    octaves = [pitch for pitch in range(lowest, highest + 1) if pitch % 12 == 0]
    axes.set_yticks(octaves, [f"C{pitch // 12 - 1}" for pitch in octaves])
    if score.tracks:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
    return axes


def save_piano_roll(
    score: "symusic.Score", path: str | Path, *, continuation_start: int | None = None
) -> Path:
    """Draw a piano roll into a PNG file.

    Raises:
        ScoreFileError: If the file cannot be written.
    """
    path = Path(path)
    figure = _new_figure()
    draw_piano_roll(score, continuation_start=continuation_start, axes=figure.subplots())
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120, bbox_inches="tight")
    try:
        write_atomic(path, image.getvalue())
    except OSError as error:
        raise ScoreFileError(path, write_problem(error)) from error
    return path


def _new_figure() -> "Figure":
    """Create a figure outside pyplot, which opens no window and leaves no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6))
    FigureCanvasAgg(figure)
    return figure


def _draw_time(axes: "Axes", score: "symusic.Score") -> None:
    quarter = score.ticks_per_quarter
    for tick in beat_ticks(score).tolist():
        axes.axvline(tick / quarter, color="#e6e6e6", linewidth=0.5, zorder=1)
    lines = bar_starts(score)
    for tick in lines.tolist():
        axes.axvline(tick / quarter, color="#aaaaaa", linewidth=0.8, zorder=1)
    step = -(-len(lines) // _MAX_BAR_NUMBERS)
    numbered = range(0, len(lines) - 1, step)
    axes.set_xticks([lines[bar] / quarter for bar in numbered], [str(bar + 1) for bar in numbered])
    axes.set_xlabel("bar")


def _pitch_range(score: "symusic.Score") -> tuple[int, int]:
    pitches = [note.pitch for track in score.tracks for note in track.notes]
    if not pitches:
        return 48, 72
    return max(0, min(pitches) - 2), min(127, max(pitches) + 2)


def _shade(color: str, velocity: int) -> tuple[float, float, float]:
    """Return the hue, lighter for soft notes."""
    red, green, blue = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    softness = 1 - min(velocity, 127) / 127
    return colorsys.hls_to_rgb(hue, lightness + (0.85 - lightness) * 0.7 * softness, saturation)
