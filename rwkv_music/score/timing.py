"""Conversion between ticks, seconds, beats and bars.

Without time signatures and tempos, a score is in 4/4 at 120 quarters per minute. A change of time
signature starts a new bar and may cut the bar before it short. A time signature that repeats the
current one has no effect.
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
_MICROSECONDS_PER_MINUTE = 60_000_000
_MAX_BARS = 250_000
_FINE = 1024
_MAX_BEATS = 1_000_000

Ticks = Int[np.ndarray, " ticks"]
Seconds = Float[np.ndarray, " ticks"]


class Signature(NamedTuple):
    """A time signature and the tick at which it begins."""

    tick: int
    numerator: int
    denominator: int

    def bar_ticks(self, ticks_per_quarter: int) -> int:
        """Return the length of a full bar in ticks."""
        return max(1, 4 * ticks_per_quarter * self.numerator // self.denominator)

    def beat_ticks(self, ticks_per_quarter: int) -> int:
        """Return the length of a beat (the denominator's unit) in ticks."""
        return max(1, 4 * ticks_per_quarter // self.denominator)


def signatures(score: "symusic.Score") -> list[Signature]:
    """Return the time signatures that change something; the first one is at tick 0.

    Raises:
        InputError: If a numerator or denominator is 0.
    """
    changes = [Signature(0, 4, 4)]
    for event in sorted(score.time_signatures, key=lambda event: event.time):
        if event.numerator < 1 or event.denominator < 1:
            raise InputError(
                f"the time signature {event.numerator}/{event.denominator} at tick {event.time} "
                "has no length: numerator and denominator must be at least 1; correct it"
            )
        if changes[-1].tick >= event.time:
            changes.pop()
        if not changes or changes[-1][1:] != (event.numerator, event.denominator):
            changes.append(Signature(max(0, event.time), event.numerator, event.denominator))
    return changes


def bar_starts(score: "symusic.Score") -> Int[np.ndarray, " lines"]:
    """Return the ticks of all bar lines, from 0 to the first one at or after the last note's end.

    Raises:
        InputError: If there are more than 250,000, or a signature has no length.

    Example:
        Two bars of 4/4 at 480 ticks per quarter return [0, 1920, 3840].
    """
    return _lines(score, Signature.bar_ticks, last_offset(score), (_MAX_BARS, "bars"))


def beat_ticks(score: "symusic.Score") -> Int[np.ndarray, " beats"]:
    """Return the ticks of all beats (the denominator's unit) up to the last bar line."""
    end = int(bar_starts(score)[-1])
    beats = _lines(score, Signature.beat_ticks, end, (_MAX_BEATS, "beats"))
    return beats[beats < end]


def _lines(
    score: "symusic.Score",
    length: Callable[[Signature, int], int],
    end: int,
    limit: tuple[int, str],
) -> Int[np.ndarray, " lines"]:
    """Return lines at regular distances up to the first one at or after `end`.

    Every time signature restarts the count.
    """
    segments = signatures(score)
    lines = []
    num_lines = 0
    for segment, following in zip(segments, [*segments[1:], None], strict=True):
        step = length(segment, score.ticks_per_quarter)
        until = max(end, 1 if segment.tick == 0 else segment.tick)
        last = segment.tick + -(-(until - segment.tick) // step) * step
        is_last = following is None or last <= following.tick
        stop = last + 1 if is_last or following is None else following.tick
        # Bars that are shorter than a tick count as well: the tokenizer has them all.
        fine_step = length(segment, _FINE * score.ticks_per_quarter)
        num_lines += _FINE * (stop - segment.tick) // fine_step
        if num_lines > limit[0]:
            raise InputError(
                f"the score ends at tick {end}, which makes more than {limit[0]} {limit[1]}: "
                "shorten it (the file probably contains a wrong waiting time)"
            )
        lines.append(np.arange(segment.tick, stop, step, dtype=np.int64))
        if is_last:
            break
    return np.concatenate(lines)


def tempo_text(mspq: int) -> str:
    """Return a tempo in quarters per minute, with the fewest digits that identify it.

    Args:
        mspq: Microseconds per quarter.

    Example:
        >>> tempo_text(512_821), tempo_text(512_830)
        ('117', '116.998')
    """
    texts = (f"{_MICROSECONDS_PER_MINUTE / mspq:.{digits}f}" for digits in range(10))
    return next(
        text
        for text in texts
        if float(text) > 0 and round(_MICROSECONDS_PER_MINUTE / float(text)) == mspq
    )


def last_offset(score: "symusic.Score") -> int:
    """Return the tick at which the last note ends; 0 for a score without notes."""
    ends = [
        int((table["time"] + table["duration"]).max())
        for table in (track.notes.numpy() for track in score.tracks)
        if len(table["time"])
    ]
    return max(ends, default=0)


def num_bars(score: "symusic.Score") -> int:
    """Return the number of bars up to the end of the last note, counting a partial one.

    Raises:
        InputError: As `bar_starts`.
    """
    return len(bar_starts(score)) - 1


def bar_line(score: "symusic.Score", index: int) -> int:
    """Return the tick of a bar line, which may lie after the last note.

    Args:
        score: In ticks.
        index: 0 for the beginning of the first bar.

    Example:
        In 4/4 at 480 ticks per quarter, bar line 3 is at tick 5760.
    """
    segments = signatures(score)
    bars_before = 0
    for segment, following in itertools.pairwise(segments):
        step = segment.bar_ticks(score.ticks_per_quarter)
        bars = -(-(following.tick - segment.tick) // step)
        if index < bars_before + bars:
            return segment.tick + (index - bars_before) * step
        bars_before += bars
    last = segments[-1]
    return last.tick + (index - bars_before) * last.bar_ticks(score.ticks_per_quarter)


class TempoMap:
    """Converts between ticks and seconds.

    Args:
        score: Score with the tempos; 120 quarters per minute before the first one.
    """

    def __init__(self, score: "symusic.Score") -> None:
        table = score.tempos.numpy()
        order = np.argsort(table["time"], kind="stable")
        ticks = np.concatenate([[0], table["time"][order]]).astype(np.float64)
        mspq = np.concatenate([[_DEFAULT_MICROSECONDS], table["mspq"][order]]).astype(np.float64)
        is_last_at_its_tick = np.append(np.diff(ticks) > 0, [True])
        self._ticks = ticks[is_last_at_its_tick]
        self._seconds_per_tick = mspq[is_last_at_its_tick] / 1e6 / score.ticks_per_quarter
        segment_seconds = np.diff(self._ticks) * self._seconds_per_tick[:-1]
        self._seconds = np.concatenate([[0.0], np.cumsum(segment_seconds)])

    def ticks_to_seconds(self, ticks: Ticks | int) -> Seconds:
        """Return the time of each tick, in seconds from the beginning."""
        ticks = np.atleast_1d(np.asarray(ticks, dtype=np.float64))
        segment = np.maximum(np.searchsorted(self._ticks, ticks, side="right") - 1, 0)
        offset = (ticks - self._ticks[segment]) * self._seconds_per_tick[segment]
        seconds: Seconds = self._seconds[segment] + offset
        return seconds

    def seconds_to_ticks(self, seconds: Seconds | float) -> Ticks:
        """Return the tick nearest to each time."""
        seconds = np.atleast_1d(np.asarray(seconds, dtype=np.float64))
        segment = np.maximum(np.searchsorted(self._seconds, seconds, side="right") - 1, 0)
        offset = (seconds - self._seconds[segment]) / self._seconds_per_tick[segment]
        nearest: Ticks = np.rint(self._ticks[segment] + offset).astype(np.int64)
        return nearest
