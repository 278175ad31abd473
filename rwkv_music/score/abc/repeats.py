"""Playback order of an ABC tune with repeats and endings."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from rwkv_music.errors import InputError
from rwkv_music.score.abc.voice import BarLine, Ending

MAX_SECTIONS = 20_000


class Section(NamedTuple):
    """A stretch of the tune that is played without a jump; times in whole notes."""

    start: Fraction
    end: Fraction


@dataclass
class _Measure:
    """The music between two bar lines."""

    start: Fraction
    end: Fraction
    starts_repeat: bool = False
    plays: int = 1
    """How often the repeat that ends here is played; 1 if none ends here."""
    ending: frozenset[int] | None = None
    closes_ending: bool = False


def playback(
    bar_lines: list[BarLine], endings: list[Ending], end: Fraction
) -> tuple[list[Section], bool]:
    """Return the sections of a tune in playback order.

    Args:
        bar_lines: Of the first voice.
        endings: Of the first voice.
        end: End of the tune in whole notes.

    Returns:
        The sections, and whether the tune has repeats or endings at all.

    Raises:
        InputError: If the repeats make more than 20,000 sections.
    """
    measures = _measures(bar_lines, endings, end)
    has_repeats = any(m.plays > 1 or m.ending is not None for m in measures)
    if not has_repeats:
        return [Section(Fraction(0), end)], False
    order = _play(measures)
    sections: list[Section] = []
    for measure in order:
        if sections and sections[-1].end == measure.start:
            sections[-1] = Section(sections[-1].start, measure.end)
        else:
            sections.append(Section(measure.start, measure.end))
    return sections, True


def _measures(bar_lines: list[BarLine], endings: list[Ending], end: Fraction) -> list[_Measure]:
    times = sorted({Fraction(0), end, *(line.time for line in bar_lines if line.time < end)})
    measures = [_Measure(start, stop) for start, stop in pairwise(times)]
    by_start = {measure.start: measure for measure in measures}
    by_end = {measure.end: measure for measure in measures}
    for line in bar_lines:
        left, colons_left, colons_right = _colons(line.symbol)
        before, after = by_end.get(line.time), by_start.get(line.time)
        if before is not None and colons_left:
            before.plays = max(before.plays, 1 + colons_left)
        if after is not None and colons_right:
            after.starts_repeat = True
        if before is not None and (left or colons_left):
            before.closes_ending = True
    numbers = {ending.time: ending.numbers for ending in endings if ending.numbers}
    current: frozenset[int] | None = None
    for measure in measures:
        current = numbers.get(measure.start, current)
        measure.ending = current
        if measure.closes_ending:
            current = None
    return measures


def _colons(symbol: str) -> tuple[bool, int, int]:
    """Return whether a bar line ends an ending, and the colons on its left and right."""
    bare = symbol.lstrip(".")
    if set(bare) == {":"}:
        return True, len(bare) - len(bare) // 2, len(bare) // 2
    left = len(bare) - len(bare.lstrip(":"))
    right = len(bare) - len(bare.rstrip(":"))
    return "||" in bare or "]" in bare or "[" in bare, left, right


def _play(measures: list[_Measure]) -> list[_Measure]:
    order: list[_Measure] = []
    index = start = 0
    turn = 1
    jumps = 0
    while index < len(measures):
        measure = measures[index]
        if measure.starts_repeat and index != start:
            start, turn = index, 1
        if measure.ending is not None and turn not in measure.ending:
            index += 1
            continue
        follows_ending = index > start and measures[index - 1].ending is not None
        if measure.ending is None and follows_ending and turn > 1:
            start, turn = index, 1  # the section after the last ending
        order.append(measure)
        if turn < _plays(measures, start, index):
            turn, index = turn + 1, start
            jumps += 1
            if jumps > MAX_SECTIONS or len(order) > 100 * MAX_SECTIONS:
                raise InputError(f"its repeats make more than {MAX_SECTIONS} sections: correct it")
            continue
        index += 1
        if measure.plays > 1:
            start, turn = index, 1
    return order


def _plays(measures: list[_Measure], start: int, index: int) -> int:
    """How often the section from `start` to the end of a measure is played."""
    measure = measures[index]
    if measure.plays == 1 or measure.ending is None:
        return measure.plays
    last = measure.plays
    for position, other in enumerate(measures[start:], start):
        if other.ending is not None:
            last = max(last, *other.ending)
        elif position > index:
            break  # after the last ending
    return last
