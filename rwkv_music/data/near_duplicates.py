"""Which pieces are the same music under other names.

Copied files differ in what is easily changed: the key, the tempo, the instruments, the ticks per
quarter, how the notes are spread over tracks. What stays is the order of pitch intervals. So a
piece is known by its runs: short stretches of successive moves, of which only a hash is kept.

* The whole: runs of 12 intervals in the highest and in the lowest line of all parts together,
  without their rhythm, so that no kind of tempo change hides anything. A drum line has runs of 6
  strokes, each a set of drums and the time to the next one.
* Each part: runs of 6 moves of its highest line, a move being an interval and the time to the next
  onset. They find a tune that returns in another arrangement.

Two pieces are alike if half of the smaller one's whole stands in the other, or two fifths of a
part. A part must share 48 different runs, since short figures are everybody's. Only runs that two
pieces share are compared, exactly, so the effort grows with the music and not with its square.
docs/data.md says how well that works.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt64

from rwkv_music.data.union_find import Groups

if TYPE_CHECKING:
    import symusic

Runs = UInt64[np.ndarray, " _"]
"""Hashes of the different runs of a line, sorted."""

_STEPS_PER_QUARTER = 24
_LONGEST_STEP = 192
_WHOLE_RUN, _PART_RUN, _DRUM_RUN = 12, 6, 6
_WHOLE_SHARE, _PART_SHARE = 0.5, 0.4
_LEAST_WHOLE, _LEAST_PART = 16, 48
_COMMONPLACE = 64
"""A run in more lines than this is compared with its first line only."""


@dataclass(frozen=True)
class Fingerprint:
    """What a piece is recognised by."""

    whole: Runs
    parts: tuple[Runs, ...]


class Alike(NamedTuple):
    """Two pieces that are the same music."""

    first: str
    second: str
    share: float
    """Of the smaller one's runs, those that stand in the other."""
    kind: Literal["whole", "part"]
    """Whether all of the music agrees, or a part."""


def fingerprint(score: "symusic.Score") -> Fingerprint:
    """What is left of a score under transposition, other tempos and other instruments."""
    quarter = score.ticks_per_quarter
    tables = [(track.is_drum, track.notes.numpy()) for track in score.tracks if len(track.notes)]
    pitched = [(table["time"], table["pitch"]) for is_drum, table in tables if not is_drum]
    drums = [(table["time"], table["pitch"]) for is_drum, table in tables if is_drum]
    whole: list[Runs] = []
    parts = [_line(*part, quarter) for part in pitched]
    if pitched:
        together = _line(*_joined(pitched), quarter)
        whole += [_runs(np.diff(line), _WHOLE_RUN) for line in (together.high, together.low)]
        if len(parts) > 1:
            parts.append(together)
    if drums:
        whole.append(_drum_runs(*_joined(drums), quarter))
    tunes = [_runs(np.diff(part.high) * 1024 + part.steps, _PART_RUN) for part in parts]
    return Fingerprint(
        whole=np.unique(np.concatenate(whole)) if whole else np.zeros(0, dtype=np.uint64),
        parts=tuple(tune for tune in tunes if len(tune) >= _LEAST_PART),
    )


def alike_pairs(prints: Mapping[str, Fingerprint]) -> list[Alike]:
    """All pairs of pieces that are the same music, the likest first.

    Args:
        prints: Name of each piece -> its fingerprint.
    """
    best: dict[tuple[str, str], Alike] = {}
    wholes = [(name, each.whole) for name, each in prints.items()]
    parts = [(name, part) for name, each in prints.items() for part in each.parts]
    for found in itertools.chain(
        _overlaps(parts, _LEAST_PART, _PART_SHARE, "part"),
        _overlaps(wholes, _LEAST_WHOLE, _WHOLE_SHARE, "whole"),
    ):
        before = best.get((found.first, found.second))
        # What the wholes share says more than what two parts do.
        if before is None or found.kind == "whole" or found.share > before.share:
            best[found.first, found.second] = found
    return sorted(best.values(), key=lambda pair: (-pair.share, pair.first, pair.second))


def group_alike(hashes: Mapping[str, str], prints: Mapping[str, Fingerprint]) -> dict[str, str]:
    """The group of each piece: the same for pieces that are the same music.

    A group is called after the smallest content hash in it. So a piece that is like no other keeps
    its group, and with it its side of a split, whatever is added to the collection.

    Args:
        hashes: Name of each piece -> hash of its content.
        prints: Name of each piece -> its fingerprint.
    """
    one_of = {hashes[name]: prints[name] for name in hashes}
    groups = Groups(one_of)
    for pair in alike_pairs(one_of):
        groups.join(pair.first, pair.second)
    return {name: groups.first_of(content) for name, content in hashes.items()}


class _Line(NamedTuple):
    high: Int64[np.ndarray, " n"]
    low: Int64[np.ndarray, " n"]
    steps: Int64[np.ndarray, " m"]
    """From onset to onset, one fewer."""


def _joined(tables: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([each[0] for each in tables]), np.concatenate([e[1] for e in tables])


def _line(onsets: np.ndarray, pitches: np.ndarray, quarter: int) -> _Line:
    """The highest and lowest pitch at each onset. Onsets closer than half a step are one."""
    onsets, pitches, first = _clusters(onsets, pitches, quarter)
    return _Line(
        high=np.maximum.reduceat(pitches, first),
        low=np.minimum.reduceat(pitches, first),
        steps=_steps(onsets[first], quarter),
    )


def _drum_runs(onsets: np.ndarray, pitches: np.ndarray, quarter: int) -> Runs:
    onsets, pitches, first = _clusters(onsets, pitches, quarter)
    # Different drums of a stroke as one number: each has a random one, and they are added up.
    drums = np.add.reduceat(_mixed(pitches), first).view(np.int64)
    return _runs(drums[:-1] * 1024 + _steps(onsets[first], quarter), _DRUM_RUN)


def _clusters(
    onsets: np.ndarray, pitches: np.ndarray, quarter: int
) -> tuple[Int64[np.ndarray, " notes"], Int64[np.ndarray, " notes"], np.ndarray]:
    """Notes in order of onset, and where each new onset begins."""
    order = np.lexsort((pitches, onsets))
    onsets, pitches = onsets[order].astype(np.int64), pitches[order].astype(np.int64)
    is_new = np.diff(onsets) * 2 * _STEPS_PER_QUARTER >= quarter
    return onsets, pitches, np.concatenate([[0], np.flatnonzero(is_new) + 1])


def _steps(onsets: np.ndarray, quarter: int) -> Int64[np.ndarray, " _"]:
    steps = np.rint(np.diff(onsets) * (_STEPS_PER_QUARTER / quarter))
    return np.minimum(steps, _LONGEST_STEP).astype(np.int64)


def _runs(moves: np.ndarray, length: int) -> Runs:
    """Hashes of all runs of a length; one that repeats a single move says nothing."""
    if len(moves) < length:
        return np.zeros(0, dtype=np.uint64)
    codes = _mixed(moves)
    stop = len(codes) - length + 1
    hashes = np.zeros(stop, dtype=np.uint64)
    for place in range(length):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + codes[place : stop + place]
    windows = np.lib.stride_tricks.sliding_window_view(codes, length)
    is_plain = (windows == windows[:, :1]).all(axis=1)
    return np.unique(hashes[~is_plain])


def _mixed(numbers: np.ndarray) -> UInt64[np.ndarray, " _"]:
    """Each whole number as 64 bits that look random (the finalizer of SplitMix64)."""
    bits = numbers.astype(np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _overlaps(
    lines: Sequence[tuple[str, Runs]],
    least: int,
    least_share: float,
    kind: Literal["whole", "part"],
) -> Iterable[Alike]:
    for (one, other), shared in _shared_runs([runs for _, runs in lines]).items():
        (first, mine), (second, theirs) = lines[one], lines[other]
        share = shared / min(len(mine), len(theirs))
        if shared >= least and share >= least_share and first != second:
            yield Alike(min(first, second), max(first, second), share, kind)


def _shared_runs(lines: Sequence[Runs]) -> Counter[tuple[int, int]]:
    """Places of two lines -> how many runs they share, for all that share some."""
    counts: Counter[tuple[int, int]] = Counter()
    if not lines:
        return counts
    hashes = np.concatenate(lines)
    owners = np.repeat(np.arange(len(lines)), [len(runs) for runs in lines])
    order = np.argsort(hashes, kind="stable")
    hashes, owners = hashes[order], owners[order]
    edges = np.flatnonzero(hashes[1:] != hashes[:-1]) + 1
    bounds = np.concatenate([[0], edges, [len(hashes)]])
    for place in np.flatnonzero(np.diff(bounds) > 1).tolist():
        found = owners[bounds[place] : bounds[place + 1]].tolist()
        if len(found) <= _COMMONPLACE:
            counts.update(itertools.combinations(found, 2))
        else:
            counts.update((found[0], other) for other in found[1:])
    return counts
