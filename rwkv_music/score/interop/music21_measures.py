"""Measures of music21 as bars: their real lengths as time signatures, and parts side by side.

A measure may be shorter or longer than its time signature says: a pickup, a phrase that is repeated
from the middle of a bar, a cadenza. It becomes a bar of its real length, so that all later bar
lines stay where they are printed. Two measures that make a full one together are one bar.
"""

import copy
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from operator import sub
from typing import Any, NamedTuple

_FINEST_DENOMINATOR, _MOST_BEATS = 64, 128


class Signature(NamedTuple):
    """A time signature and where it begins to hold, in quarters."""

    onset: Fraction
    numerator: int
    denominator: int

    @property
    def quarters(self) -> Fraction:
        """How long a bar is."""
        return Fraction(4 * self.numerator, self.denominator)


def signatures_of(part: Any) -> list[Signature]:  # noqa: ANN401 - music21 has no type hints
    """The time signatures of a part, with others between them where measures are irregular.

    Args:
        part: A stream, with or without measures.

    Returns:
        In order of onset; none if none is printed.
    """
    printed = [
        Signature(Fraction(each.offset), each.numerator, each.denominator)
        for each in part.flatten().getElementsByClass("TimeSignature")
    ]
    if not printed:
        return []
    found = {each.onset: each for each in printed}
    starts = _starts(part)
    place = 0
    while place + 1 < len(starts):
        start, end = starts[place : place + 2]
        holding = next((each for each in reversed(printed) if each.onset <= start), printed[0])
        place += 1
        if end - start == holding.quarters:
            continue
        if starts[place + 1 : place + 2] == [start + holding.quarters] and end not in found:
            place += 1  # a bar in two measures
            continue
        real = _of_length(start, end - start)
        if real is not None:
            found[start] = real
            found.setdefault(end, holding._replace(onset=end))
    ordered = [found[onset] for onset in sorted(found)]
    return ordered[:1] + [
        sign
        for before, sign in pairwise(ordered)
        if sign in printed or sign.quarters != before.quarters
    ]


def side_by_side(stream: Any) -> Any:  # noqa: ANN401
    """The stream with each measure at one place in all parts; a changed one is a copy.

    Where parts have meters of their own, music21 makes a measure of rest as long as its own meter
    says, and all that follows in that part too early.
    """
    if not hasattr(stream, "parts"):
        return stream
    columns = [_starts(part) for part in stream.parts]
    if len({len(column) for column in columns}) != 1 or all(
        column == columns[0] for column in columns
    ):
        return stream
    changed = copy.deepcopy(stream)
    lengths = (
        max(map(sub, after, before)) for before, after in pairwise(zip(*columns, strict=True))
    )
    starts = list(accumulate(lengths, initial=max(column[0] for column in columns)))
    for part in changed.parts:
        _place(part, starts)
    return changed


def set_lengths(stream: Any, lengths: Sequence[Fraction]) -> None:  # noqa: ANN401
    """Give each measure its place in all parts, by lengths that are known from elsewhere.

    Args:
        stream: Changed in place; left alone if a part has another number of measures.
        lengths: In quarters; 0 for a measure that holds nothing and stays as long as it is.
    """
    columns = [_starts(part) for part in stream.parts]
    if not columns or any(len(column) != len(lengths) for column in columns):
        return
    ends = [part.highestTime for part in stream.parts]
    own = [
        max(map(sub, after, before))
        for before, after in pairwise([*zip(*columns, strict=True), tuple(map(Fraction, ends))])
    ]
    starts = list(
        accumulate(
            (known or kept for known, kept in zip(lengths, own, strict=True)), initial=Fraction(0)
        )
    )
    for part in stream.parts:
        _place(part, starts[:-1])


def _place(part: Any, starts: Sequence[Fraction]) -> None:  # noqa: ANN401
    for measure, start in zip(part.getElementsByClass("Measure"), starts, strict=True):
        part.setElementOffset(measure, start)


def _starts(part: Any) -> list[Fraction]:  # noqa: ANN401
    return [Fraction(measure.offset) for measure in part.getElementsByClass("Measure")]


def _of_length(onset: Fraction, quarters: Fraction) -> Signature | None:
    """The signature of a bar that is so long, in quarters or finer; None if there is none."""
    share_of_whole = quarters / 4
    denominator = max(4, share_of_whole.denominator)
    is_writable = denominator <= _FINEST_DENOMINATOR and denominator & (denominator - 1) == 0
    numerator = share_of_whole * denominator
    if not is_writable or not 1 <= numerator <= _MOST_BEATS:
        return None
    return Signature(onset, int(numerator), denominator)
