"""Which candidate first: discard what is unusable, and put the closest to the context first.

Likelihood misleads here: the most likely continuations are drones. A candidate is ranked by how far
its statistics are from those of the prompt's last bars instead.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64, Int64

from rwkv_music.errors import InputError
from rwkv_music.generation.continuation import Continuation, continue_score
from rwkv_music.model import MusicModel

if TYPE_CHECKING:
    import symusic

CONTEXT_BARS = 8
"""Bars at the end of the prompt that candidates are compared with."""
_SLOTS = 16
"""Onset positions in a bar."""
_STUCK_BARS = 3
"""A candidate that repeats one bar this often in a row is stuck, unless the context does."""

Features = dict[str, Float64[np.ndarray, " values"]]


@dataclass(frozen=True)
class Ranking:
    """Candidates in order, and how many were discarded."""

    pieces: list[Continuation]
    """Usable candidates, the closest to the context first."""
    distances: list[float]
    """Distance of each to the context, 0 for equal statistics."""
    discarded: dict[str, int]
    """Number of candidates by reason: "silent", "identical", "stuck"."""


def rank_continuations(pieces: Sequence[Continuation]) -> Ranking:
    """Discard silent, identical and stuck candidates of one prompt, and sort the others.

    Example:
        >>> pieces = continue_score(model, "prompt.mid", candidates=8)  # doctest: +SKIP
        >>> best = rank_continuations(pieces).pieces[:3]  # doctest: +SKIP
    """
    discarded: dict[str, int] = {}
    usable: list[tuple[float, Continuation]] = []
    seen: set[bytes] = set()
    for piece in pieces:
        context = _context(piece)
        reason = _why_unusable(piece, context, seen)
        seen.add(piece.tokens.tobytes())
        if reason:
            discarded[reason] = discarded.get(reason, 0) + 1
        else:
            usable.append((distance(context, piece.new), piece))
    usable.sort(key=lambda pair: pair[0])
    return Ranking([piece for _, piece in usable], [far for far, _ in usable], discarded)


def best_continuations(
    model: MusicModel,
    score: Any,  # noqa: ANN401 - whatever to_score takes
    *,
    candidates: int = 3,
    draw: int = 8,
    **settings: Any,  # noqa: ANN401 - those of continue_score
) -> Ranking:
    """Continue a score in more versions than asked for, and return the best of them in order.

    Eight candidates take about twice the time of three.

    Args:
        model: A model with known tokenizer settings.
        score: The prompt, as for `continue_score`.
        candidates: Candidates to return; fewer if too many are discarded.
        draw: Candidates to generate, at least `candidates`.
        settings: Further arguments of `continue_score`.

    Raises:
        InputError: If `draw` is below `candidates`, or as `continue_score`.
    """
    if draw < candidates:
        raise InputError(f"draw must be at least candidates ({candidates}), got {draw}")
    ranking = rank_continuations(continue_score(model, score, candidates=draw, **settings))
    return replace(
        ranking,
        pieces=ranking.pieces[:candidates],
        distances=ranking.distances[:candidates],
    )


def distance(context: "symusic.Score", new: "symusic.Score") -> float:
    """Return how far two pieces of music are apart in their statistics; 0 for the same.

    The sum of: differences of pitch classes, onsets in the bar and durations (half the sum of the
    absolute differences of the two distributions), the ratio of notes per bar (its absolute
    logarithm), and the difference of the mean pitch in octaves.
    """
    one, other = _features(context), _features(new)
    far = sum(
        0.5 * float(np.abs(one[name] - other[name]).sum())
        for name in ("pitch_classes", "onsets", "durations")
    )
    densities = one["density"][0], other["density"][0]
    far += abs(float(np.log(max(densities[0], 0.1) / max(densities[1], 0.1))))
    return far + abs(float(one["pitch"][0] - other["pitch"][0])) / 12


def _context(piece: Continuation) -> "symusic.Score":
    """Return the last bars of the prompt."""
    from rwkv_music.score import bar_starts, take_bars

    starts = bar_starts(piece.score).tolist()
    end = starts.index(piece.continuation_start) if piece.continuation_start in starts else 1
    return take_bars(piece.score, max(0, end - CONTEXT_BARS), max(1, end))


def _why_unusable(piece: Continuation, context: "symusic.Score", seen: set[bytes]) -> str:
    """Return why a candidate is discarded; empty if it is not."""
    if not piece.new.note_num():
        return "silent"
    if piece.tokens.tobytes() in seen:
        return "identical"
    longest = _longest_repeat(piece.new)
    return "stuck" if longest >= _STUCK_BARS and longest > _longest_repeat(context) else ""


def _longest_repeat(score: "symusic.Score") -> int:
    """Return the largest number of bars in a row that have the same notes, or none at all."""
    bars = _notes_by_bar(score)
    longest = run = 1
    for before, bar in pairwise(bars):
        run = run + 1 if bar == before else 1
        longest = max(longest, run)
    return longest


def _notes_by_bar(score: "symusic.Score") -> list[list[tuple[int, int, int]]]:
    from rwkv_music.score import bar_starts

    starts = bar_starts(score)
    bars: list[list[tuple[int, int, int]]] = [[] for _ in starts[:-1]]
    for index, track in enumerate(score.tracks):
        for note in track.notes:
            bar = min(int(np.searchsorted(starts, note.time, side="right")) - 1, len(bars) - 1)
            bars[bar].append((index, note.time - int(starts[bar]), note.pitch))
    return [sorted(bar) for bar in bars]


def _features(score: "symusic.Score") -> Features:
    """Return distributions and means over the notes of a score."""
    from rwkv_music.score import bar_starts

    starts = bar_starts(score)
    tables = [(track.is_drum, track.notes.numpy()) for track in score.tracks if len(track.notes)]
    pitches = np.concatenate(
        [np.zeros(0, int), *(t["pitch"] for is_drum, t in tables if not is_drum)]
    )
    times, durations = (
        np.concatenate([np.zeros(0, int), *(table[name] for _, table in tables)])
        for name in ("time", "duration")
    )
    bars = np.clip(np.searchsorted(starts, times, side="right") - 1, 0, len(starts) - 2)
    lengths = np.diff(starts)[bars]
    slots = ((times - starts[bars]) * _SLOTS // np.maximum(lengths, 1)).clip(0, _SLOTS - 1)
    eighths = 2 * durations / score.ticks_per_quarter
    sizes = np.log2(np.maximum(eighths, 1 / 8)).round().clip(-3, 4) + 3
    return {
        "pitch_classes": _distribution(pitches % 12, 12),
        "onsets": _distribution(slots, _SLOTS),
        "durations": _distribution(sizes.astype(np.int64), 8),
        "density": np.array([len(times) / (len(starts) - 1)]),
        "pitch": np.array([pitches.mean() if len(pitches) else 60.0]),
    }


def _joined(columns: Iterable[np.ndarray]) -> Int64[np.ndarray, " notes"]:
    return np.concatenate([np.zeros(0, dtype=np.int64), *columns]).astype(np.int64)


def _distribution(values: np.ndarray, count: int) -> Float64[np.ndarray, " values"]:
    counts = np.bincount(values, minlength=count).astype(np.float64)
    return np.asarray(counts / max(1.0, counts.sum()))
