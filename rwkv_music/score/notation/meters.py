"""Time signatures and ticks for notation: bars of their real length, times that are exact."""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

_MAX_METER_DENOMINATOR, _MAX_METER_NUMERATOR = 64, 128
_MIN_TICKS_PER_QUARTER = 480
_MAX_TICKS_PER_QUARTER = 32_767


class PrintedMeter(NamedTuple):
    """A time signature and its onset in quarters."""

    onset: Fraction
    numerator: int
    denominator: int

    @property
    def quarters(self) -> Fraction:
        """Length of a bar in quarters."""
        return Fraction(4 * self.numerator, self.denominator)


def signatures_from(
    starts: Sequence[Fraction], printed: Sequence[PrintedMeter]
) -> list[PrintedMeter]:
    """Return the time signatures of a piece, including those that irregular bars need.

    A bar may be shorter or longer than its time signature: a pickup, a repeated phrase that starts
    inside a bar, a cadenza. It gets a time signature of its real length, so that all later bar
    lines stay where they are printed. Two bars that make a full one together become one bar.

    Args:
        starts: Onsets of the bars in quarters, ascending.
        printed: Printed time signatures, ascending.

    Returns:
        Time signatures in order of onset; empty if none is printed.
    """
    if not printed:
        return []
    meters = {meter.onset: meter for meter in printed}
    last_printed = -1
    index = 0
    while index + 1 < len(starts):
        start, end = starts[index : index + 2]
        while last_printed + 1 < len(printed) and printed[last_printed + 1].onset <= start:
            last_printed += 1
        current = printed[max(0, last_printed)]
        index += 1
        if end - start == current.quarters:
            continue
        if starts[index + 1 : index + 2] == [start + current.quarters] and end not in meters:
            index += 1  # one bar printed as two
            continue
        actual = _meter_of_length(start, end - start)
        if actual is not None:
            meters[start] = actual
            meters.setdefault(end, current._replace(onset=end))
    ordered = [meters[onset] for onset in sorted(meters)]
    return ordered[:1] + [
        meter
        for previous, meter in pairwise(ordered)
        if meter in printed or meter.quarters != previous.quarters
    ]


def _meter_of_length(onset: Fraction, quarters: Fraction) -> PrintedMeter | None:
    """Return a time signature whose bar has the given length, or None if there is none."""
    whole_notes = quarters / 4
    denominator = max(4, whole_notes.denominator)
    is_writable = denominator <= _MAX_METER_DENOMINATOR and denominator & (denominator - 1) == 0
    numerator = whole_notes * denominator
    if not is_writable or not 1 <= numerator <= _MAX_METER_NUMERATOR:
        return None
    return PrintedMeter(onset, int(numerator), denominator)


def exact_ticks_per_quarter(quarters: Iterable[Fraction]) -> int:
    """Return ticks per quarter that represent all times exactly, if possible.

    The result is the smallest multiple of 480 up to 32,767 that does; or else the smallest number
    that does; or else 480.
    """
    exact = math.lcm(*{time.denominator for time in quarters})
    candidates = (math.lcm(exact, _MIN_TICKS_PER_QUARTER), exact, _MIN_TICKS_PER_QUARTER)
    return next(ticks for ticks in candidates if ticks <= _MAX_TICKS_PER_QUARTER)
