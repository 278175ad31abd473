"""Playing order of measures with repeats, endings and jumps."""

from collections.abc import Sequence
from dataclasses import dataclass

from rwkv_music.errors import InputError

MAX_PLAYED_MEASURES = 100_000


@dataclass
class MeasureMarks:
    """Repeats and jumps that are written in a measure."""

    starts_repeat: bool = False
    repeat_times: int = 0
    """How often the section that ends here is played; 0 if no repeat ends here."""
    ending: tuple[int, ...] = ()
    """Passes in which the ending that starts here is played."""
    stops_ending: bool = False
    segno: str | None = None
    coda: str | None = None
    """Label of the sign at the beginning of the measure."""
    to_coda: str | None = None
    dal_segno: str | None = None
    """Label of the sign to jump to at the end of the measure."""
    da_capo: bool = False
    fine: bool = False

    def merge(self, other: "MeasureMarks") -> None:
        """Add the marks that another part has in the same measure."""
        for name in self.__dataclass_fields__:
            if getattr(self, name) in {None, False, ()}:
                setattr(self, name, getattr(other, name))


def has_repeats(marks: Sequence[MeasureMarks]) -> bool:
    """Whether the measures are played in another order than they are written."""
    return any(
        mark.repeat_times > 1 or mark.ending or mark.da_capo or mark.dal_segno is not None
        for mark in marks
    )


def playing_order(marks: Sequence[MeasureMarks]) -> list[int]:
    """Return the indices of the measures in the order in which they are played.

    A jump (da capo, dal segno) is made once. After it repeats are not taken, of several endings
    the last is played, and Fine and To Coda become active.

    Args:
        marks: Of each measure.

    Raises:
        InputError: If the piece becomes longer than 100,000 measures.

    Example:
        >>> first, second = MeasureMarks(), MeasureMarks(repeat_times=2)
        >>> playing_order([first, second])
        [0, 1, 0, 1]
    """
    return _Player(marks).play()


class _Player:
    def __init__(self, marks: Sequence[MeasureMarks]) -> None:
        self._marks = marks
        self._endings, self._last_passes = _endings(marks)
        self._repeat_start = 0
        self._pass = 1
        self._jumps: set[int] = set()

    def play(self) -> list[int]:
        order: list[int] = []
        index = 0
        while index < len(self._marks):
            if self._marks[index].starts_repeat and index != self._repeat_start:
                self._repeat_start, self._pass = index, 1
            if not self._is_skipped(index):
                order.append(index)
                if self._marks[index].fine and self._jumps:
                    break
                index = self._next(index)
            else:
                index += 1
            if len(order) > MAX_PLAYED_MEASURES:
                raise InputError(
                    f"its repeats make more than {MAX_PLAYED_MEASURES} measures: "
                    "read it without unfolding repeats"
                )
        return order

    def _is_skipped(self, index: int) -> bool:
        passes = self._endings[index]
        current = self._last_passes[index] if self._jumps else self._pass
        return bool(passes) and current not in passes

    def _next(self, index: int) -> int:
        """Index of the measure to play after this one."""
        mark = self._marks[index]
        if mark.to_coda is not None and self._jumps:
            target = self._find("coda", mark.to_coda, after=index)
            if target is not None:
                return target
        times = max(mark.repeat_times, self._last_passes[index] if mark.repeat_times else 0)
        if self._pass < times and not self._jumps:
            self._pass += 1
            return self._repeat_start
        leaves_endings = self._endings[index] and not self._is_in_endings(index + 1)
        if mark.repeat_times or leaves_endings:
            self._repeat_start, self._pass = index + 1, 1
        if index not in self._jumps and (mark.da_capo or mark.dal_segno is not None):
            target = 0 if mark.da_capo else self._find("segno", mark.dal_segno or "", after=-1)
            if target is not None:
                self._jumps.add(index)
                return target
        return index + 1

    def _is_in_endings(self, index: int) -> bool:
        return index < len(self._endings) and bool(self._endings[index])

    def _find(self, name: str, label: str, *, after: int) -> int | None:
        """The sign with a label, or else the first sign behind a measure."""
        signs = [(i, getattr(mark, name)) for i, mark in enumerate(self._marks)]
        later_signs = [i for i, sign in signs if sign is not None and i > after]
        labelled = [i for i in later_signs if signs[i][1] == label]
        return next(iter(labelled or later_signs), None)


def _endings(marks: Sequence[MeasureMarks]) -> tuple[list[tuple[int, ...]], list[int]]:
    """For each measure, the passes of the ending it belongs to, and the last pass of the group."""
    passes: list[tuple[int, ...]] = []
    current: tuple[int, ...] = ()
    for mark in marks:
        current = mark.ending or current
        passes.append(current)
        if mark.stops_ending:
            current = ()
    last = [0] * len(marks)
    start = 0
    for index in range(len(marks) + 1):
        is_end = index == len(marks) or not passes[index]
        begins_again = not is_end and index > start and marks[index].ending[:1] == (1,)
        if is_end or begins_again:
            total = max(
                (max(pass_numbers) for pass_numbers in passes[start:index] if pass_numbers),
                default=0,
            )
            last[start:index] = [total] * (index - start)
            start = index + 1 if is_end else index
    return passes, last
