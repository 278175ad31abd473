"""Scores made from two nodes of a session, and what two of them have in common."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from rwkv_music.errors import InputError
from rwkv_music.generation.constraints.constraints import part_index

if TYPE_CHECKING:
    import symusic


def with_bars_from(
    score: "symusic.Score",
    other: "symusic.Score",
    bars: tuple[int, int],
    parts: Sequence[str | int] | None = None,
) -> "symusic.Score":
    """Return a copy of a score in which some bars of some tracks are those of another.

    Both have the same tracks, resolution and bar lines, as candidates of one prompt do. A note
    belongs to the bar in which it begins.

    Args:
        score: Not changed.
        other: The score to take the bars from.
        bars: First and last bar, counted from 1.
        parts: Tracks, by name or index; all when None.

    Raises:
        InputError: If a bar or part does not exist, or the scores do not fit.
    """
    from rwkv_music.score import bar_starts

    starts = bar_starts(other).tolist()
    first, last = bars
    if not 1 <= first <= last < len(starts):
        raise InputError(
            f"bars {first} to {last} are not in this score of {len(starts) - 1} bars: choose bars "
            f"from 1 to {len(starts) - 1}"
        )
    if _layout(score) != _layout(other):
        raise InputError("the scores have other tracks: take bars from a version of the same piece")
    names = [track.name for track in score.tracks]
    chosen = range(len(names)) if parts is None else [part_index(part, names) for part in parts]
    begin, end = starts[first - 1], starts[last]
    made = score.copy()
    for index in chosen:
        track, source = made.tracks[index], other.tracks[index]
        for name in ("notes", "controls"):
            events = getattr(track, name)
            kept = [event for event in events if not begin <= event.time < end]
            taken = [event for event in getattr(source, name) if begin <= event.time < end]
            merged = sorted([*kept, *taken], key=lambda event: event.time)
            events.clear()
            events.extend(merged)
    return made


def _layout(score: "symusic.Score") -> tuple[int, list[tuple[int, bool]]]:
    return score.ticks_per_quarter, [(track.program, track.is_drum) for track in score.tracks]


def bars_in_common(first: "symusic.Score", second: "symusic.Score") -> list[float]:
    """Return for each bar the share of notes that two scores have in common: 2 common / all.

    Bars without notes in either have 1. Notes are equal in track, onset, pitch and duration.
    """
    from rwkv_music.score import bar_starts

    starts = max(bar_starts(first).tolist(), bar_starts(second).tolist(), key=len)
    shares = []
    for begin, end in pairwise(starts):
        one, other = (_notes_between(score, begin, end) for score in (first, second))
        total = len(one) + len(other)
        shares.append(2 * len(one & other) / total if total else 1.0)
    return shares


def _notes_between(score: "symusic.Score", begin: int, end: int) -> set[tuple[int, int, int, int]]:
    return {
        (index, note.time, note.pitch, note.duration)
        for index, track in enumerate(score.tracks)
        for note in track.notes
        if begin <= note.time < end
    }
