"""Statistics of music, for generated and real pieces alike."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from rwkv_music.errors import InputError
from rwkv_music.score import bar_starts

if TYPE_CHECKING:
    import symusic

_MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)

Notes = Int[np.ndarray, "notes 3"]


@dataclass(frozen=True)
class MusicStatistics:
    """Statistics of some bars."""

    notes: int
    notes_per_bar: float
    polyphony: float
    """Mean number of simultaneous notes, over the time in which any sounds."""
    scale_consistency: float
    """Fraction of notes in the best of the 12 major (or natural minor) scales."""
    empty_bar_rate: float
    """Fraction of bars in which no note begins."""
    mean_duration_quarters: float
    ends_on_bar_line: bool
    """Whether no note sounds past the last bar line."""


def music_statistics(
    score: "symusic.Score", *, start_tick: int = 0, num_bars: int | None = None
) -> MusicStatistics:
    """Return the statistics of the bars from a bar line on, without drums.

    Args:
        score: A score in ticks.
        start_tick: Tick of a bar line.
        num_bars: Number of bars; up to the end when None. Bars past the end count as empty.

    Raises:
        InputError: If the tick is not a bar line, or no note begins in those bars.
    """
    lines = lines_from(score, start_tick, num_bars)
    end = int(lines[-1])
    notes = _pitched_notes(score)
    notes = notes[(notes[:, 0] >= start_tick) & (notes[:, 0] < end)]
    if not len(notes):
        raise InputError(f"no pitched note begins between ticks {start_tick} and {end}")
    onsets, offsets, pitches = notes.T
    filled = np.unique(np.searchsorted(lines, onsets, side="right"))
    bars = len(lines) - 1
    return MusicStatistics(
        notes=len(notes),
        notes_per_bar=len(notes) / bars,
        polyphony=_polyphony(onsets, offsets),
        scale_consistency=_scale_consistency(pitches),
        empty_bar_rate=1 - len(filled) / bars,
        mean_duration_quarters=float((offsets - onsets).mean()) / score.ticks_per_quarter,
        ends_on_bar_line=int(offsets.max()) <= end,
    )


def mean_statistics(rows: Sequence[MusicStatistics]) -> dict[str, float]:
    """Return the mean of each statistic."""
    table = [asdict(row) for row in rows]
    return {name: float(np.mean([row[name] for row in table])) for name in table[0]}


def lines_from(
    score: "symusic.Score", start_tick: int, num_bars: int | None
) -> Int[np.ndarray, " lines"]:
    """Return the ticks of the bar lines from one on, as many as `num_bars` bars have."""
    lines = bar_starts(score)
    if start_tick not in lines:
        raise InputError(f"tick {start_tick} is not a bar line of this score")
    lines = lines[np.searchsorted(lines, start_tick) :]
    if num_bars is None:
        return lines
    length = int(lines[-1] - lines[-2]) if len(lines) > 1 else 4 * score.ticks_per_quarter
    missing = num_bars + 1 - len(lines)
    extra = lines[-1] + length * np.arange(1, max(0, missing) + 1)
    return np.concatenate([lines, extra])[: num_bars + 1]


def _pitched_notes(score: "symusic.Score") -> Notes:
    """Rows of onset, offset, pitch."""
    rows = [np.zeros((0, 3), dtype=np.int64)]
    for track in score.tracks:
        if not track.is_drum:
            table = track.notes.numpy()
            rows.append(
                np.stack(
                    [table["time"], table["time"] + table["duration"], table["pitch"]], axis=1
                ).astype(np.int64)
            )
    return np.concatenate(rows)


def _polyphony(onsets: Int[np.ndarray, " notes"], offsets: Int[np.ndarray, " notes"]) -> float:
    """Return the total duration of notes over the time in which any note sounds."""
    order = np.argsort(onsets)
    latest = np.maximum.accumulate(offsets[order])
    gaps = np.maximum(onsets[order][1:] - latest[:-1], 0).sum()
    any_sounds = latest[-1] - onsets[order][0] - gaps
    return float((offsets - onsets).sum() / max(1, any_sounds))


def _scale_consistency(pitches: Int[np.ndarray, " notes"]) -> float:
    classes = np.bincount(pitches % 12, minlength=12)
    counts = [classes[[(root + step) % 12 for step in _MAJOR_SCALE]].sum() for root in range(12)]
    return float(max(counts) / len(pitches))
