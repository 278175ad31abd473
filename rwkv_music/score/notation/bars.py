"""Time signatures that keep bar lines where they are printed.

A measure may be shorter or longer than its time signature: a pickup, a phrase that is repeated
from the middle of a bar, a cadenza, free time. It becomes a bar of its real length, so that all
later bar lines stay where they are printed. Two measures that make a full one together are one bar.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

_FINEST_DENOMINATOR, _MAX_BEATS = 64, 128


class PrintedSignature(NamedTuple):
    """A time signature and the moment from which it is valid, in quarters."""

    onset: Fraction
    numerator: int
    """0 in free time."""
    denominator: int

    @property
    def quarters(self) -> Fraction:
        """Length of a bar; 0 in free time."""
        return Fraction(4 * self.numerator, self.denominator)


def real_signatures(
    printed: Sequence[PrintedSignature],
    starts: Sequence[Fraction],
    *,
    last_is_full: bool = False,
) -> list[PrintedSignature]:
    """Return the printed signatures, with others between them where measures are irregular.

    Args:
        printed: In order of onset. Without any, the time is free from the beginning.
        starts: Of the measures, and the end of the last one; in quarters.
        last_is_full: Whether `starts` are bar lines only, so that a last measure that is shorter
            than its signature gets one of its length. Otherwise it is cut short by the end.
    """
    printed = printed or [PrintedSignature(Fraction(0), 0, 4)]
    real = {sign.onset: sign for sign in printed if sign.numerator}
    index = valid = 0
    while index + 1 < len(starts):
        start, end = starts[index : index + 2]
        while valid + 1 < len(printed) and printed[valid + 1].onset <= start:
            valid += 1
        sign = printed[valid]
        index += 1
        if end - start == sign.quarters:
            continue
        is_last = index + 1 == len(starts)
        if is_last and not last_is_full and end - start < sign.quarters:
            continue
        if starts[index + 1 : index + 2] == [start + sign.quarters] and end not in real:
            index += 1  # a bar in two measures
            continue
        irregular = _signature_of_length(start, end - start)
        if irregular is not None:
            real[start] = irregular
            if sign.numerator:
                real.setdefault(end, sign._replace(onset=end))
    ordered = [real[onset] for onset in sorted(real)]
    return ordered[:1] + [
        sign
        for before, sign in pairwise(ordered)
        if sign in printed or sign.quarters != before.quarters
    ]


def _signature_of_length(onset: Fraction, quarters: Fraction) -> PrintedSignature | None:
    """A signature whose bars have a length, in quarters or finer; None if there is none."""
    whole_notes = quarters / 4
    denominator = max(4, whole_notes.denominator)
    is_writable = denominator <= _FINEST_DENOMINATOR and denominator & (denominator - 1) == 0
    numerator = whole_notes * denominator
    if not is_writable or not 1 <= numerator <= _MAX_BEATS:
        return None
    return PrintedSignature(onset, int(numerator), denominator)
