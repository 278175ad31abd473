"""How much of a piece stands in other pieces, note for note.

A part is a line of notes; two lines agree over a run when their pitch intervals and the times from
onset to onset do, in any key. The longest run that also stands in the training pieces tells a model
that quotes from one that composes, beside the same figure for held-out pieces.
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
    """The lines of some scores, searchable for runs.

    Args:
        scores: E.g. the training pieces.
    """

    def __init__(self, scores: "Iterable[symusic.Score]") -> None:
        self._lines = [line for score in scores for line in lines_of(score)]
        self._runs: dict[int, set[bytes]] = {}

    def longest_shared_run(self, score: "symusic.Score", *, start_tick: int = 0) -> int:
        """Notes in the longest run of a part that also stands in one of the indexed scores.

        Args:
            score: What to look for.
            start_tick: Only notes from here on count.

        Returns:
            The number of notes; 0 if not even two follow each other so.
        """
        lines = lines_of(score, start_tick=start_tick)
        longest = 0
        while any(self._stands_here(line, longest + 1) for line in lines):
            longest += 1
        return longest + 1 if longest else 0

    def _stands_here(self, line: Line, length: int) -> bool:
        return not self._indexed(length).isdisjoint(_runs(line, length))

    def _indexed(self, length: int) -> set[bytes]:
        """All runs of a length, collected once."""
        if length not in self._runs:
            self._runs[length] = {run for line in self._lines for run in _runs(line, length)}
        return self._runs[length]


def lines_of(score: "symusic.Score", *, start_tick: int = 0) -> list[Line]:
    """Each pitched part as moves from note to note: interval and time, packed into one number.

    Of notes struck together in one part the highest counts.
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
