"""Ticks, seconds, beats and bars.

A file that says nothing is in 4/4 at 120 quarters per minute. A time signature begins a bar where
it stands, cutting the bar before it short if need be; one that repeats what is in force does not.
"""

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from rwkv_music.errors import InputError

if TYPE_CHECKING:
    import symusic

_DEFAULT_MICROSECONDS = 500_000
_MICROSECONDS_A_MINUTE = 60_000_000
_MOST_LINES = 4_000_000

Ticks = Int[np.ndarray, " ticks"]
Seconds = Float[np.ndarray, " ticks"]


class Signature(NamedTuple):
    """A time signature and the tick from which it counts."""

    tick: int
    numerator: int
    denominator: int

    def bar_ticks(self, ticks_per_quarter: int) -> int:
        """Length of a whole bar."""
        return max(1, 4 * ticks_per_quarter * self.numerator // self.denominator)

    def beat_ticks(self, ticks_per_quarter: int) -> int:
        """Length of a beat: the unit of the denominator."""
        return max(1, 4 * ticks_per_quarter // self.denominator)


def signatures(score: "symusic.Score") -> list[Signature]:
    """The time signatures that change something, the first at tick 0.

    Raises:
        InputError: If a numerator or denominator is 0.
    """
    found = [Signature(0, 4, 4)]
    for event in sorted(score.time_signatures, key=lambda each: each.time):
        if event.numerator < 1 or event.denominator < 1:
            raise InputError(
                f"the time signature {event.numerator}/{event.denominator} at tick {event.time} "
                "has no length: numerator and denominator must be at least 1; correct it"
            )
        if found[-1].tick >= event.time:
            found.pop()
        if not found or found[-1][1:] != (event.numerator, event.denominator):
            found.append(Signature(max(0, event.time), event.numerator, event.denominator))
    return found


def bar_starts(score: "symusic.Score") -> Int[np.ndarray, " lines"]:
    """Ticks of all bar lines, from 0 to the first one at or after the last note's end.

    Raises:
        InputError: If there are more than 4,000,000, or a signature has no length.

    Example:
        Two bars of 4/4 at 480 ticks per quarter give [0, 1920, 3840].
    """
    return _lines(score, Signature.bar_ticks, last_offset(score))


def beat_ticks(score: "symusic.Score") -> Int[np.ndarray, " beats"]:
    """Ticks of all beats (in the denominator's unit), as far as `bar_starts` goes."""
    end = int(bar_starts(score)[-1])
    beats = _lines(score, Signature.beat_ticks, end)
    return beats[beats < end]


def _lines(
    score: "symusic.Score", length: Callable[[Signature, int], int], end: int
) -> Int[np.ndarray, " lines"]:
    """Multiples of a length from 0 to the first one at or after the end; each signature is one."""
    segments = signatures(score)
    lines = []
    for segment, following in zip(segments, [*segments[1:], None], strict=True):
        step = length(segment, score.ticks_per_quarter)
        until = max(end, 1 if segment.tick == 0 else segment.tick)
        last = segment.tick + -(-(until - segment.tick) // step) * step
        is_last = following is None or last <= following.tick
        stop = last + 1 if is_last or following is None else following.tick
        if (stop - segment.tick) // step > _MOST_LINES:
            raise InputError(
                f"the score ends at tick {end}, which makes more than {_MOST_LINES} bars or beats: "
                "cut it, a wrong waiting time is likely"
            )
        lines.append(np.arange(segment.tick, stop, step, dtype=np.int64))
        if is_last:
            break
    return np.concatenate(lines)


def tempo_text(mspq: int) -> str:
    """A tempo in quarters per minute, with as few digits as name its microseconds a quarter.

    Example:
        >>> tempo_text(512_821), tempo_text(512_830)
        ('117', '116.998')
    """
    texts = (f"{_MICROSECONDS_A_MINUTE / mspq:.{digits}f}" for digits in range(10))
    return next(
        text
        for text in texts
        if float(text) > 0 and round(_MICROSECONDS_A_MINUTE / float(text)) == mspq
    )


def last_offset(score: "symusic.Score") -> int:
    """The tick at which the last note ends; 0 for a score without notes."""
    ends = [
        int((table["time"] + table["duration"]).max())
        for table in (track.notes.numpy() for track in score.tracks)
        if len(table["time"])
    ]
    return max(ends, default=0)


def num_bars(score: "symusic.Score") -> int:
    """Bars from the beginning to the end of the last note, the last one counted whole."""
    return len(bar_starts(score)) - 1


def bar_line(score: "symusic.Score", number: int) -> int:
    """The tick of a bar line, also behind the last note; 0 is the beginning of the first bar.

    Example:
        In 4/4 at 480 ticks per quarter, bar line 3 stands at tick 5760.
    """
    segments = signatures(score)
    passed = 0
    for segment, following in itertools.pairwise(segments):
        step = segment.bar_ticks(score.ticks_per_quarter)
        bars = -(-(following.tick - segment.tick) // step)
        if number < passed + bars:
            return segment.tick + (number - passed) * step
        passed += bars
    last = segments[-1]
    return last.tick + (number - passed) * last.bar_ticks(score.ticks_per_quarter)


class TempoMap:
    """Converts between ticks and seconds.

    Args:
        score: Whose tempos to follow; 120 quarters per minute until the first one.
    """

    def __init__(self, score: "symusic.Score") -> None:
        table = score.tempos.numpy()
        order = np.argsort(table["time"], kind="stable")
        ticks = np.concatenate([[0], table["time"][order]]).astype(np.float64)
        micro = np.concatenate([[_DEFAULT_MICROSECONDS], table["mspq"][order]]).astype(np.float64)
        is_last_at_its_tick = np.append(np.diff(ticks) > 0, [True])
        self._ticks = ticks[is_last_at_its_tick]
        self._seconds_per_tick = micro[is_last_at_its_tick] / 1e6 / score.ticks_per_quarter
        passed = np.diff(self._ticks) * self._seconds_per_tick[:-1]
        self._seconds = np.concatenate([[0.0], np.cumsum(passed)])

    def ticks_to_seconds(self, ticks: Ticks | int) -> Seconds:
        """Seconds from the beginning at which each tick comes."""
        ticks = np.atleast_1d(np.asarray(ticks, dtype=np.float64))
        place = np.maximum(np.searchsorted(self._ticks, ticks, side="right") - 1, 0)
        since = (ticks - self._ticks[place]) * self._seconds_per_tick[place]
        moments: Seconds = self._seconds[place] + since
        return moments

    def seconds_to_ticks(self, seconds: Seconds | float) -> Ticks:
        """The tick nearest to each moment."""
        seconds = np.atleast_1d(np.asarray(seconds, dtype=np.float64))
        place = np.maximum(np.searchsorted(self._seconds, seconds, side="right") - 1, 0)
        since = (seconds - self._seconds[place]) / self._seconds_per_tick[place]
        nearest: Ticks = np.rint(self._ticks[place] + since).astype(np.int64)
        return nearest
