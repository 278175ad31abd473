"""Find pieces that are the same music under different names.

Copied files differ in what is easily changed: key, tempo, instruments, ticks per quarter, and how
the notes are distributed over tracks. The order of pitch intervals stays. A piece is therefore
described by hashes of runs: short sequences of successive intervals.

* Whole piece: runs of 12 intervals in the highest and in the lowest line of all parts together,
  without rhythm, so that no change of tempo hides anything. A drum line has runs of 6 strokes; a
  stroke is a set of drums and the time to the next one.
* Each part: runs of 6 moves of its highest line; a move is an interval and the time to the next
  onset. They find a melody that returns in another arrangement.

Two pieces are near-duplicates if one contains half of the runs of the other (of the smaller one's
whole), or two fifths of a part's. Parts must share at least 48 different runs, since short figures
are common to many pieces. Only runs that two pieces share are compared, exactly, so that the cost
grows with the amount of music and not with its square. docs/data.md reports how well this works.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt64

from rwkv_music.data.union_find import UnionFind

if TYPE_CHECKING:
    import symusic

Runs = UInt64[np.ndarray, " _"]
"""Hashes of the different runs of a line, sorted."""

_STEPS_PER_QUARTER = 24
_MAX_STEP = 192
_WHOLE_RUN, _PART_RUN, _DRUM_RUN = 12, 6, 6
_WHOLE_FRACTION, _PART_FRACTION = 0.5, 0.4
_MIN_WHOLE, _MIN_PART = 16, 48
_COMMON = 64
"""A run in more lines than this is compared with the first of them only."""


@dataclass(frozen=True)
class Fingerprint:
    """Hashes by which a piece is recognized."""

    whole: Runs
    parts: tuple[Runs, ...]


class NearDuplicate(NamedTuple):
    """Two pieces that are the same music."""

    first: str
    second: str
    share: float
    """Fraction of the smaller one's runs that the other contains."""
    kind: Literal["whole", "part"]
    """Whether the whole music agrees, or a part."""


def fingerprint(score: "symusic.Score") -> Fingerprint:
    """Return what transposition, another tempo and other instruments leave unchanged."""
    quarter = score.ticks_per_quarter
    tables = [(track.is_drum, track.notes.numpy()) for track in score.tracks if len(track.notes)]
    pitched = [(table["time"], table["pitch"]) for is_drum, table in tables if not is_drum]
    drums = [(table["time"], table["pitch"]) for is_drum, table in tables if is_drum]
    whole: list[Runs] = []
    parts = [_line(*part, quarter) for part in pitched]
    if pitched:
        merged = _line(*_concatenated(pitched), quarter)
        whole += [_runs(np.diff(line), _WHOLE_RUN) for line in (merged.high, merged.low)]
        if len(parts) > 1:
            parts.append(merged)
    if drums:
        whole.append(_drum_runs(*_concatenated(drums), quarter))
    melodies = [_runs(np.diff(part.high) * 1024 + part.steps, _PART_RUN) for part in parts]
    return Fingerprint(
        whole=np.unique(np.concatenate(whole)) if whole else np.zeros(0, dtype=np.uint64),
        parts=tuple(melody for melody in melodies if len(melody) >= _MIN_PART),
    )


def find_near_duplicates(prints: Mapping[str, Fingerprint]) -> list[NearDuplicate]:
    """Return all pairs of pieces that are the same music, the most similar first.

    Args:
        prints: Name of each piece -> its fingerprint.
    """
    best: dict[tuple[str, str], NearDuplicate] = {}
    wholes = [(name, entry.whole) for name, entry in prints.items()]
    parts = [(name, part) for name, entry in prints.items() for part in entry.parts]
    for pair in itertools.chain(
        _overlaps(parts, _MIN_PART, _PART_FRACTION, "part"),
        _overlaps(wholes, _MIN_WHOLE, _WHOLE_FRACTION, "whole"),
    ):
        previous = best.get((pair.first, pair.second))
        # What the wholes share is more informative than what two parts share.
        if previous is None or pair.kind == "whole" or pair.share > previous.share:
            best[pair.first, pair.second] = pair
    return sorted(best.values(), key=lambda pair: (-pair.share, pair.first, pair.second))


def group_near_duplicates(
    hashes: Mapping[str, str], prints: Mapping[str, Fingerprint]
) -> dict[str, str]:
    """Return the group of each piece; pieces that are the same music share one.

    A group is named after the smallest content hash in it. A piece without near-duplicates thus
    keeps its group, and its split, whatever is added to the collection.

    Args:
        hashes: Name of each piece -> hash of its content.
        prints: Name of each piece -> its fingerprint.
    """
    print_of = {hashes[name]: prints[name] for name in hashes}
    groups = UnionFind(print_of)
    for pair in find_near_duplicates(print_of):
        groups.union(pair.first, pair.second)
    return {name: groups.find(content) for name, content in hashes.items()}


class _Line(NamedTuple):
    high: Int64[np.ndarray, " n"]
    """Highest pitch at each onset."""
    low: Int64[np.ndarray, " n"]
    """Lowest pitch at each onset."""
    steps: Int64[np.ndarray, " m"]
    """Steps from onset to onset; m = n - 1."""


def _concatenated(
    tables: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    onsets, pitches = zip(*tables, strict=True)
    return np.concatenate(onsets), np.concatenate(pitches)


def _line(onsets: np.ndarray, pitches: np.ndarray, quarter: int) -> _Line:
    """Return the highest and lowest pitch at each onset; onsets within half a step are one."""
    onsets, pitches, starts = _chords(onsets, pitches, quarter)
    return _Line(
        high=np.maximum.reduceat(pitches, starts),
        low=np.minimum.reduceat(pitches, starts),
        steps=_steps(onsets[starts], quarter),
    )


def _drum_runs(onsets: np.ndarray, pitches: np.ndarray, quarter: int) -> Runs:
    onsets, pitches, starts = _chords(onsets, pitches, quarter)
    # The drums of a stroke as one number: the sum of a random number per drum.
    drums = np.add.reduceat(_mixed(pitches), starts).view(np.int64)
    return _runs(drums[:-1] * 1024 + _steps(onsets[starts], quarter), _DRUM_RUN)


def _chords(
    onsets: np.ndarray, pitches: np.ndarray, quarter: int
) -> tuple[Int64[np.ndarray, " notes"], Int64[np.ndarray, " notes"], np.ndarray]:
    """Return the notes sorted by onset, and the index at which each new onset starts."""
    order = np.lexsort((pitches, onsets))
    onsets, pitches = onsets[order].astype(np.int64), pitches[order].astype(np.int64)
    is_new = np.diff(onsets) * 2 * _STEPS_PER_QUARTER >= quarter
    return onsets, pitches, np.concatenate([[0], np.flatnonzero(is_new) + 1])


def _steps(onsets: np.ndarray, quarter: int) -> Int64[np.ndarray, " _"]:
    steps = np.rint(np.diff(onsets) * (_STEPS_PER_QUARTER / quarter))
    return np.minimum(steps, _MAX_STEP).astype(np.int64)


def _runs(moves: np.ndarray, length: int) -> Runs:
    """Return hashes of all runs of a length, without those that repeat a single move."""
    if len(moves) < length:
        return np.zeros(0, dtype=np.uint64)
    codes = _mixed(moves)
    stop = len(codes) - length + 1
    hashes = np.zeros(stop, dtype=np.uint64)
    for start in range(length):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + codes[start : stop + start]
    windows = np.lib.stride_tricks.sliding_window_view(codes, length)
    is_constant = (windows == windows[:, :1]).all(axis=1)
    return np.unique(hashes[~is_constant])


def _mixed(values: np.ndarray) -> UInt64[np.ndarray, " _"]:
    """Hash each integer to 64 bits (the finalizer of SplitMix64)."""
    bits = values.astype(np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _overlaps(
    lines: Sequence[tuple[str, Runs]],
    min_shared: int,
    min_fraction: float,
    kind: Literal["whole", "part"],
) -> Iterable[NearDuplicate]:
    for (i, j), shared in _shared_runs([runs for _, runs in lines]).items():
        (first, first_runs), (second, second_runs) = lines[i], lines[j]
        share = shared / min(len(first_runs), len(second_runs))
        if shared >= min_shared and share >= min_fraction and first != second:
            yield NearDuplicate(min(first, second), max(first, second), share, kind)


def _shared_runs(lines: Sequence[Runs]) -> Counter[tuple[int, int]]:
    """Count the runs that two lines share, for all pairs of indices that share some."""
    counts: Counter[tuple[int, int]] = Counter()
    if not lines:
        return counts
    hashes = np.concatenate(lines)
    owners = np.repeat(np.arange(len(lines)), [len(runs) for runs in lines])
    order = np.argsort(hashes, kind="stable")
    hashes, owners = hashes[order], owners[order]
    edges = np.flatnonzero(hashes[1:] != hashes[:-1]) + 1
    bounds = np.concatenate([[0], edges, [len(hashes)]])
    for run in np.flatnonzero(np.diff(bounds) > 1).tolist():
        sharing = owners[bounds[run] : bounds[run + 1]].tolist()
        if len(sharing) <= _COMMON:
            counts.update(itertools.combinations(sharing, 2))
        else:
            counts.update((sharing[0], other) for other in sharing[1:])
    return counts
