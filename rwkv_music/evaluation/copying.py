"""Detection of copied music: runs of notes that occur in other pieces.

A part is a line of notes. Two lines match over a run if their pitch intervals and inter-onset times
are equal, in any key. The longest run that also occurs in the training pieces, compared with the
same figure for held-out pieces, shows whether a model copies.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

if TYPE_CHECKING:
    import symusic

_STEPS_PER_QUARTER = 24

Line = Int[np.ndarray, " moves"]


class CopyIndex:
    """Index of the lines of some scores, to search for runs.

    Args:
        scores: Scores to index, e.g. the training pieces.
    """

    def __init__(self, scores: "Iterable[symusic.Score]") -> None:
        self._lines = [line for score in scores for line in lines_of(score)]
        self._runs: dict[int, set[bytes]] = {}

    def longest_shared_run(self, score: "symusic.Score", *, start_tick: int = 0) -> int:
        """Return the length of the longest run of a part that occurs in an indexed score.

        Args:
            score: The score to search for.
            start_tick: Only notes from this tick on are used.

        Returns:
            Number of notes in the run; 0 if no two notes in a row match.
        """
        lines = lines_of(score, start_tick=start_tick)
        longest = 0
        while any(self._contains(line, longest + 1) for line in lines):
            longest += 1
        return longest + 1 if longest else 0

    def _contains(self, line: Line, length: int) -> bool:
        return not self._indexed(length).isdisjoint(_runs(line, length))

    def _indexed(self, length: int) -> set[bytes]:
        """Return all runs of a length, computed once."""
        if length not in self._runs:
            self._runs[length] = {run for line in self._lines for run in _runs(line, length)}
        return self._runs[length]


def lines_of(score: "symusic.Score", *, start_tick: int = 0) -> list[Line]:
    """Return each pitched part as moves between notes: interval and time packed into one number.

    Of simultaneous notes in a part, the highest is used.
    """
    lines = []
    for track in score.tracks:
        table = track.notes.numpy()
        kept = table["time"] >= start_tick
        if track.is_drum or kept.sum() < 2:
            continue
        steps = np.rint(table["time"][kept] * _STEPS_PER_QUARTER / score.ticks_per_quarter)
        onsets, pitches = steps.astype(np.int64), table["pitch"][kept].astype(np.int64)
        order = np.lexsort((-pitches, onsets))
        onsets, pitches = onsets[order], pitches[order]
        first = np.flatnonzero(np.diff(onsets, prepend=-1))
        onsets, pitches = onsets[first], pitches[first]
        lines.append(np.diff(onsets) * 256 + np.diff(pitches) + 128)
    return lines


def _runs(line: Line, length: int) -> Iterable[bytes]:
    if len(line) < length:
        return ()
    windows = np.lib.stride_tricks.sliding_window_view(line, length)
    return (window.tobytes() for window in windows)
