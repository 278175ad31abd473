"""Spines of a Humdrum file: which column belongs to which part on every line.

Spines split (*^), merge (*v), swap (*x), begin (*+) and end (*-) inside a file.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

_SPLIT = re.compile(r"\*\^(\d{1,4})?$")
_MAX_SPINES = 4096


@dataclass(eq=False)
class Strand:
    """One column between two changes of the columns."""

    kind: str
    """Exclusive interpretation, such as "**kern"."""
    track: int
    """Number of the column at the beginning of the file from which it descends."""
    end: int = 0
    """Moment up to which it is filled; for whoever keeps the time."""

    def copy(self) -> "Strand":
        """Return a strand that continues this one."""
        return Strand(self.kind, self.track, self.end)


class Line(NamedTuple):
    """A line of interpretations, data or a bar line."""

    number: int
    """Counted from 1."""
    strands: Sequence[Strand]
    tokens: Sequence[str]
    """One for each strand."""


@dataclass
class SpineReader:
    """Follows the columns through a file."""

    num_bad_lines: int = 0
    """Lines with more or fewer fields than columns."""
    _strands: list[Strand] = field(default_factory=list)
    _num_tracks: int = 0
    _end: int = 0

    def lines(self, text: str) -> Iterator[Line]:
        """Yield all lines but comments, each with its strands.

        Raises:
            ValueError: If data come before an exclusive interpretation, or columns are too many.
        """
        rows = [
            (line_number, line.split("\t"))
            for line_number, line in enumerate(re.split("\r\n|\r|\n", text), start=1)
            if line and not line.startswith("!")
        ]
        for index, (line_number, tokens) in enumerate(rows):
            if len(tokens) != len(self._strands) and tokens[0].startswith("**"):
                self._begin(len(tokens))
            if not self._strands:
                raise ValueError(
                    f"line {line_number} comes before an exclusive interpretation (**kern)"
                )
            fields = self._with_all_columns(tokens)
            yield Line(line_number, list(self._strands), fields)
            if fields[0].startswith("*"):
                width = len(rows[index + 1][1]) if index + 1 < len(rows) else None
                self._change(fields, width)
            if len(self._strands) > _MAX_SPINES:
                raise ValueError(f"line {line_number} has more than {_MAX_SPINES} spines")

    def _with_all_columns(self, tokens: list[str]) -> list[str]:
        """The fields of a line, with null tokens for missing ones."""
        missing = len(self._strands) - len(tokens)
        self.num_bad_lines += missing != 0
        return [*tokens, *["."] * missing][: len(self._strands)]

    def _begin(self, num_columns: int) -> None:
        """Start new columns behind all music so far."""
        self._strands = [Strand("", track, self._end) for track in range(num_columns)]
        self._num_tracks = max(self._num_tracks, num_columns)

    def _change(self, tokens: Sequence[str], width: int | None) -> None:
        """Replace the columns as the interpretations of a line say.

        Adjacent merges of different tracks are separate, unless the next line is narrower.
        """
        self._end = max(self._end, *(strand.end for strand in self._strands))
        changed = self._changed(tokens, is_merged_across_tracks=False)
        if width is not None and len(changed) != width:
            across = self._changed(tokens, is_merged_across_tracks=True)
            changed = across if len(across) == width else changed
        self._strands = changed

    def _changed(self, tokens: Sequence[str], *, is_merged_across_tracks: bool) -> list[Strand]:
        strands: list[Strand] = []
        swapped: Strand | None = None
        previous_mark = ""
        previous_track = -1
        for strand, mark in zip(self._strands, tokens, strict=True):
            if mark.startswith("**"):
                strand.kind = mark
            if match := _SPLIT.match(mark):
                copies = min(int(match[1] or 2), _MAX_SPINES)
                strands += [strand, *(strand.copy() for _ in range(copies - 1))]
                if len(strands) > _MAX_SPINES:
                    raise ValueError(f"more than {_MAX_SPINES} spines")
            elif (
                mark == "*v"
                and previous_mark == "*v"
                and (is_merged_across_tracks or previous_track == strand.track)
            ):
                strands[-1].end = max(strands[-1].end, strand.end)
            elif mark == "*x" and swapped is None:
                swapped = strand
            elif mark == "*x":
                strands += [strand, swapped] if swapped is not None else [strand]
                swapped = None
            elif mark == "*+":
                strands += [strand, Strand("", self._num_tracks, strand.end)]
                self._num_tracks += 1
            elif mark != "*-":
                strands.append(strand)
            previous_mark, previous_track = mark, strand.track
        return strands if swapped is None else [*strands, swapped]
