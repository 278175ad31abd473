"""Which pieces share a melody: they must stand on the same side of a split.

Many chorales are settings of one tune. A model that trained on one of them has heard the soprano of
the others, and a validation loss measured there would flatter it.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from rwkv_music.data.union_find import UnionFind

Melody = Int[np.ndarray, " notes"]

_RUN = 11
"""Two pieces share a melody when this many successive intervals agree, in any key.

A chorale's phrase has about eight notes, so that such a run reaches into the next phrase. Runs of
nine are commonplaces: they chain 223 of the 359 chorales into one group, runs of eleven make 186
groups of 21 pieces at most, and longer ones hardly change the groups any more.
"""


def melody_groups(melodies: Mapping[str, Melody], *, run: int = _RUN) -> dict[str, str]:
    """Group pieces that share a run of `run` successive pitch intervals, directly or by a chain.

    Args:
        melodies: Name of each piece -> its melody as pitches.
        run: Length of a shared run in intervals.

    Returns:
        Name of each piece -> name of its group (the group's alphabetically first piece).

    Example:
        >>> tune = np.array([60, 62, 64, 65, 67])
        >>> melody_groups({"a": tune, "b": tune + 5, "c": tune[::-1]}, run=3)
        {'a': 'a', 'b': 'a', 'c': 'c'}
    """
    groups = UnionFind(melodies)
    first_seen: dict[bytes, str] = {}
    for name in sorted(melodies):
        for signature in interval_runs(melodies[name], run):
            groups.union(name, first_seen.setdefault(signature, name))
    return {name: groups.find(name) for name in melodies}


def interval_runs(melody: Melody, run: int) -> set[bytes]:
    """Every run of `run` successive intervals in a melody, as bytes. A run of one pitch is none."""
    intervals = np.diff(melody).astype(np.int16)
    if len(intervals) < run:
        return set()
    windows = np.lib.stride_tricks.sliding_window_view(intervals, run)
    return {window.tobytes() for window in windows if window.any()}
