"""Playback order of an ABC tune with repeats, endings, jumps and parts."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from rwkv_music.score.abc.voice import BarLine, JumpMark, RepeatEnding
from rwkv_music.score.notation.playing_order import MeasureMarks, has_repeats, playing_order

MAX_PARTS = 2_000
_PART = re.compile(r"[A-Za-z]|\d{1,3}|[()]")


class Section(NamedTuple):
    """A stretch of the tune that is played without a jump; times in whole notes."""

    start: Fraction
    end: Fraction


class PartLabel(NamedTuple):
    """The beginning of a part (P: field in the body)."""

    time: Fraction
    label: str


@dataclass
class Structure:
    """Everything that decides in which order a tune is played."""

    bar_lines: list[BarLine] = field(default_factory=list)
    endings: list[RepeatEnding] = field(default_factory=list)
    jumps: list[JumpMark] = field(default_factory=list)
    parts: list[PartLabel] = field(default_factory=list)
    part_order: Sequence[str] = ()
    """Labels in the order in which they are played; empty for the order of the file."""


class _Measure(NamedTuple):
    """The music between two bar lines."""

    start: Fraction
    end: Fraction
    marks: MeasureMarks


def playback(structure: Structure, end: Fraction) -> tuple[list[Section], bool]:
    """Return the sections of a tune in playback order.

    Args:
        structure: Bar lines, endings, jumps and parts.
        end: End of the tune in whole notes.

    Returns:
        The sections, and whether the tune is played in another order than it is written.

    Raises:
        InputError: If the repeats make more than 100,000 bars.
    """
    measures = _measures(structure, end)
    order = _order(measures, structure)
    if order == list(range(len(measures))) and not has_repeats([m.marks for m in measures]):
        return [Section(Fraction(0), end)], False
    sections: list[Section] = []
    for index in order:
        measure = measures[index]
        if sections and sections[-1].end == measure.start:
            sections[-1] = Section(sections[-1].start, measure.end)
        else:
            sections.append(Section(measure.start, measure.end))
    return sections, True


def parse_part_order(text: str) -> list[str]:
    """Parse the P: field of the head.

    Raises:
        ValueError: If it names more than 2,000 parts.

    Example:
        >>> "".join(parse_part_order("A(BC)2.D3"))
        'ABCBCDDD'
    """
    stack: list[list[list[str]]] = [[]]
    for symbol in _PART.findall(re.sub(r'"[^"]*"', "", text)):
        if symbol == "(":
            stack.append([])
        elif symbol == ")" and len(stack) > 1:
            group = [label for labels in stack.pop() for label in labels]
            stack[-1].append(group)
        elif symbol.isdecimal() and stack[-1]:
            if len(stack[-1][-1]) * int(symbol) > MAX_PARTS:
                raise ValueError(f"an order of more than {MAX_PARTS} parts")
            stack[-1][-1] = stack[-1][-1] * int(symbol)
        elif symbol.isalpha():
            stack[-1].append([symbol])
    order = [label for level in stack for labels in level for label in labels]
    if len(order) > MAX_PARTS:
        raise ValueError(f"an order of more than {MAX_PARTS} parts")
    return order


def _order(measures: list[_Measure], structure: Structure) -> list[int]:
    """Indices of the measures as they are played."""
    marks = [measure.marks for measure in measures]
    starts: dict[str, int] = {}
    for part in structure.parts:
        index = next((i for i, m in enumerate(measures) if m.start >= part.time), None)
        if index is not None:
            starts.setdefault(part.label, index)
    labels = [label for label in structure.part_order if label in starts]
    if not labels:
        return playing_order(marks)
    borders = sorted({*starts.values(), len(measures)})
    order = list(range(borders[0]))
    for label in labels:
        start = starts[label]
        stop = borders[borders.index(start) + 1]
        order += [start + index for index in playing_order(marks[start:stop])]
    return order


def _measures(structure: Structure, end: Fraction) -> list[_Measure]:
    lines = structure.bar_lines
    borders = {Fraction(0), end, *(line.time for line in lines if line.time < end)}
    borders.update(part.time for part in structure.parts if part.time < end)
    borders.update(ending.time for ending in structure.endings if ending.time < end)
    measures = [_Measure(start, stop, MeasureMarks()) for start, stop in pairwise(sorted(borders))]
    by_start = {measure.start: measure.marks for measure in measures}
    by_end = {measure.end: measure.marks for measure in measures}
    for line in lines:
        left, colons_left, colons_right = _colons(line.symbol)
        before, after = by_end.get(line.time), by_start.get(line.time)
        if before is not None and colons_left:
            before.repeat_times = max(before.repeat_times, 1 + colons_left)
        if after is not None and colons_right:
            after.starts_repeat = True
        if before is not None and (left or colons_left):
            before.stops_ending = True
    for ending in structure.endings:
        if ending.numbers and ending.time in by_start:
            by_start[ending.time].ending = tuple(sorted(ending.numbers))
    _add_jumps(structure.jumps, measures)
    return measures


def _add_jumps(jumps: Iterable[JumpMark], measures: Sequence[_Measure]) -> None:
    """Add segno, coda and jumps to the measures that they stand in.

    The first of two coda signs is where the jump begins.
    """
    jumps = list(jumps)
    codas = [jump for jump in jumps if jump.name == "coda"]
    has_to_coda = any(jump.name == "to_coda" for jump in jumps)
    for jump in jumps:
        name = jump.name
        if name == "coda" and not has_to_coda and len(codas) > 1 and jump == codas[0]:
            name = "to_coda"
        is_sign = name in {"segno", "coda"}
        for measure in measures:
            if jump.is_at_bar_line and not is_sign:
                is_inside = measure.start < jump.time <= measure.end
            else:
                is_inside = measure.start <= jump.time < measure.end
            if is_inside:
                setattr(measure.marks, name, True if name in {"da_capo", "fine"} else "")


def _colons(symbol: str) -> tuple[bool, int, int]:
    """Return whether a bar line ends an ending, and the colons on its left and right."""
    bare = symbol.lstrip(".")
    if set(bare) == {":"}:
        return True, len(bare) - len(bare) // 2, len(bare) // 2
    left = len(bare) - len(bare.lstrip(":"))
    right = len(bare) - len(bare.rstrip(":"))
    return "||" in bare or "]" in bare or "[" in bare, left, right
