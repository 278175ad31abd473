"""Time signatures and aligned parts from music21 measures."""

import copy
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from operator import sub
from typing import Any

from rwkv_music.score.notation.bars import PrintedSignature, real_signatures


def signatures_of(part: Any) -> list[PrintedSignature]:  # noqa: ANN401 - music21 has no type hints
    """Return the time signatures of a part, including those that irregular measures need.

    Args:
        part: A stream, with or without measures.

    Returns:
        Time signatures in order of onset; empty if none is printed.
    """
    printed = [
        PrintedSignature(Fraction(meter.offset), meter.numerator, meter.denominator)
        for meter in part.flatten().getElementsByClass("TimeSignature")
    ]
    return real_signatures(printed, _starts(part), last_is_full=True) if printed else []


def align_measures(stream: Any) -> Any:  # noqa: ANN401
    """Return the stream with each measure at the same offset in all parts; a copy if changed.

    When parts have different meters, music21 gives a measure of rest the length of its own meter,
    so that everything after it in that part begins too early.
    """
    if not hasattr(stream, "parts"):
        return stream
    columns = [_starts(part) for part in stream.parts]
    if len({len(column) for column in columns}) != 1 or all(
        column == columns[0] for column in columns
    ):
        return stream
    aligned = copy.deepcopy(stream)
    lengths = (
        max(map(sub, after, before)) for before, after in pairwise(zip(*columns, strict=True))
    )
    starts = list(accumulate(lengths, initial=max(column[0] for column in columns)))
    for part in aligned.parts:
        _move_measures(part, starts)
    return aligned


def set_measure_lengths(stream: Any, lengths: Sequence[Fraction]) -> None:  # noqa: ANN401
    """Move the measures of all parts so that they have the given lengths.

    Args:
        stream: Changed in place; unchanged if a part has another number of measures.
        lengths: Measure lengths in quarters; 0 keeps the length of an empty measure.
    """
    columns = [_starts(part) for part in stream.parts]
    if not columns or any(len(column) != len(lengths) for column in columns):
        return
    ends = [part.highestTime for part in stream.parts]
    current_lengths = [
        max(map(sub, after, before))
        for before, after in pairwise([*zip(*columns, strict=True), tuple(map(Fraction, ends))])
    ]
    starts = list(
        accumulate(
            (given or current for given, current in zip(lengths, current_lengths, strict=True)),
            initial=Fraction(0),
        )
    )
    for part in stream.parts:
        _move_measures(part, starts[:-1])


def _move_measures(part: Any, starts: Sequence[Fraction]) -> None:  # noqa: ANN401
    for measure, start in zip(part.getElementsByClass("Measure"), starts, strict=True):
        part.setElementOffset(measure, start)


def _starts(part: Any) -> list[Fraction]:  # noqa: ANN401
    return [Fraction(measure.offset) for measure in part.getElementsByClass("Measure")]
