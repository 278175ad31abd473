"""A resolution in which all times of a piece of notation are exact."""

import math
from collections.abc import Iterable
from fractions import Fraction

_MIN_TICKS_PER_QUARTER = 480
_MAX_TICKS_PER_QUARTER = 32_767


def exact_ticks_per_quarter(quarters: Iterable[Fraction]) -> int:
    """Return ticks per quarter that represent all times exactly, if possible.

    The result is the smallest multiple of 480 up to 32,767 that does; or else the smallest number
    that does; or else 480.
    """
    exact = math.lcm(*{time.denominator for time in quarters})
    candidates = (math.lcm(exact, _MIN_TICKS_PER_QUARTER), exact, _MIN_TICKS_PER_QUARTER)
    return next(ticks for ticks in candidates if ticks <= _MAX_TICKS_PER_QUARTER)
