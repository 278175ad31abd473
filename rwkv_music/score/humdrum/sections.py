"""Repeats of a Humdrum file: labelled sections with their order, or repeat signs."""

import re

from rwkv_music.errors import InputError
from rwkv_music.score.notation.playing_order import (
    MAX_PLAYED_MEASURES,
    has_repeats,
    playing_order,
)
from rwkv_music.score.notation.written import WrittenPiece

_ORDER = re.compile(r"\*>\[([^\]]*)\]$")
_LABEL = re.compile(r"\*>([^\[\]]+)$")


class Sections:
    """Labels, the order in which they are played, and repeat signs."""

    def __init__(self) -> None:
        self._order: list[str] = []
        self._starts: dict[str, int] = {}

    def add_label(self, token: str, index: int) -> None:
        """Take a label or an order at the beginning of a measure."""
        if order := _ORDER.match(token):
            self._order = self._order or [name.strip() for name in order[1].split(",")]
        elif label := _LABEL.match(token):
            self._starts.setdefault(label[1].strip(), index)

    def add_barline(self, token: str, index: int, piece: WrittenPiece) -> None:
        """Take the repeat signs of a bar line before a measure."""
        if re.search(r":[|!]", token) and index:
            piece.measures[index - 1].marks.repeat_times = 2
        if re.search(r"[|!]:", token):
            piece.measures[index].marks.starts_repeat = True

    def has_repeats(self, piece: WrittenPiece) -> bool:
        """Whether the measures are played in another order than they are written."""
        if self._is_labelled():
            return self.playing_order(piece) != list(range(len(piece.measures)))
        return has_repeats([measure.marks for measure in piece.measures])

    def playing_order(self, piece: WrittenPiece) -> list[int]:
        """Return the indices of the measures in the order in which they are played.

        Raises:
            InputError: If the piece becomes too long.
        """
        if not self._is_labelled():
            return playing_order([measure.marks for measure in piece.measures])
        num_measures = len(piece.measures)
        starts = sorted({*self._starts.values(), num_measures})
        first = starts[0]
        order = list(range(first))
        for label in self._order:
            start = self._starts[label]
            end = next((next_start for next_start in starts if next_start > start), num_measures)
            order.extend(range(start, end))
            if len(order) > MAX_PLAYED_MEASURES:
                raise InputError(
                    f"its repeats make more than {MAX_PLAYED_MEASURES} measures: "
                    "read it without unfolding repeats"
                )
        return order

    def _is_labelled(self) -> bool:
        return bool(self._order) and all(label in self._starts for label in self._order)
