"""Layouts: one piece as different files would store it, to see whether a model depends on that."""

from collections.abc import Callable, Mapping

import numpy as np

from rwkv_music.data.augmentation.bar_shift import shift_off_bars
from rwkv_music.data.augmentation.part_layout import (
    keep_parts,
    merge_parts,
    reorder_parts,
    replace_programs,
)
from rwkv_music.data.augmentation.table_editing import is_note, parts_of, pitched_parts, pitches_of
from rwkv_music.data.pieces import Ids
from rwkv_music.tokenizer import Vocabulary
from rwkv_music.tokenizer.events import EventTable
from rwkv_music.tokenizer.reader import read_whole
from rwkv_music.tokenizer.writer import write_events

Layout = Callable[[EventTable, Vocabulary], EventTable]

_PIANO = 0
_OFF_BARS = 11 / 8
"""In quarters: off the bars and off the sixteenths."""


def as_stored(table: EventTable, _vocabulary: Vocabulary) -> EventTable:
    """Return the piece as it is."""
    return table


def one_piano(table: EventTable, vocabulary: Vocabulary) -> EventTable:
    """Return all pitched parts merged into one piano part; drums are left out."""
    pitched = pitched_parts(table)
    table = keep_parts(table, pitched, vocabulary)
    programs = dict.fromkeys(table.header.programs, _PIANO)
    table = replace_programs(table, programs, vocabulary)
    return merge_parts(table, pitched_parts(table), vocabulary) if len(pitched) > 1 else table


def no_melody(table: EventTable, vocabulary: Vocabulary) -> EventTable:
    """Return the piece without the part whose notes are highest on average."""
    keys = table.keys
    parts, notes = parts_of(keys), is_note(keys)
    means = {
        part: float(pitches_of(keys[notes & (parts == part)]).mean())
        for part in pitched_parts(table)
        if (notes & (parts == part)).any()
    }
    if len(means) < 2:
        return table
    melody = max(means, key=lambda part: means[part])
    kept = [part for part in range(len(table.header.programs)) if part != melody]
    return keep_parts(table, kept, vocabulary)


def reordered(table: EventTable, vocabulary: Vocabulary) -> EventTable:
    """Return the piece with the parts of each program in the opposite order."""
    programs = table.header.programs
    order = sorted(range(len(programs)), key=lambda part: (programs[part], -part))
    return reorder_parts(table, order, vocabulary)


def off_bars(table: EventTable, vocabulary: Vocabulary) -> EventTable:
    """Return the music one quarter and three eighths of a quarter behind its bar lines."""
    return shift_off_bars(table, int(_OFF_BARS * vocabulary.steps_per_quarter), vocabulary)


LAYOUTS: Mapping[str, Layout] = {
    "as stored": as_stored,
    "one piano": one_piano,
    "no melody": no_melody,
    "reordered": reordered,
    "off the bars": off_bars,
}

OF_WINDOWS = frozenset({"off the bars"})
"""Layouts that are applied to windows: a piece whose time signature changes cannot be shifted."""


def in_layout(ids: Ids, layout: str, vocabulary: Vocabulary) -> Ids | None:
    """Return music in another layout; None if that would be the same.

    Args:
        ids: A whole piece or a window.
        layout: A name in `LAYOUTS`.
        vocabulary: Of the ids.
    """
    table = read_whole(ids, vocabulary)
    changed = LAYOUTS[layout](table, vocabulary)
    if layout == "as stored":
        return ids
    is_same = changed.header == table.header and np.array_equal(changed.keys, table.keys)
    return None if is_same else write_events(changed, vocabulary)
