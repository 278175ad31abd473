"""The controls that a hole obeys, measured on its music."""

import numpy as np

from rwkv_music.tokenizer.events import EventType
from rwkv_music.tokenizer.holes.control_levels import (
    ControlLevels,
    Notes,
    bar_patterns,
    key_level,
    mean_similarity,
    measure_part,
    similarity_level,
)
from rwkv_music.tokenizer.holes.edge import bar_ends
from rwkv_music.tokenizer.holes.hole import Hole, Ids
from rwkv_music.tokenizer.reader import read_whole
from rwkv_music.tokenizer.vocabulary import TokenType, Vocabulary

_BAR = int(EventType.BAR)


def measure_hole(hole: Hole, vocabulary: Vocabulary) -> ControlLevels:
    """Return the level of every control that can be measured, for the hole and for each part.

    Parts in which no note is written have no levels.
    """
    table = read_whole(hole.fill, vocabulary)
    times, ends = bar_ends(table, vocabulary)
    notes = Notes.of(table, vocabulary)
    bars = times.searchsorted(notes.onsets, side="right") - 1
    written = notes.select(hole.cells[bars, notes.parts])
    if not len(written.onsets):
        return {}
    quarters = float(ends[-1]) / vocabulary.steps_per_quarter
    levels: ControlLevels = {None: measure_part(written, quarters)}
    key = key_level(notes)
    if key is not None:
        levels[None][TokenType.KEY] = key
    context = [
        pattern
        for ids in (hole.prefix, hole.suffix)
        if len(ids)
        for pattern in _patterns(ids, hole.written, vocabulary)
    ]
    similarity = mean_similarity(bar_patterns(written, times, vocabulary), context)
    if similarity is not None:
        levels[None][TokenType.SIMILARITY] = similarity_level(similarity)
    for part in hole.written:
        own = written.select(written.parts == part)
        if len(own.onsets):
            levels[part] = measure_part(own, quarters)
    return levels


def _patterns(
    ids: Ids, parts: tuple[int, ...], vocabulary: Vocabulary
) -> list[frozenset[tuple[int, int]]]:
    """Return the patterns of a window's bars, of the parts that are compared."""
    table = read_whole(ids, vocabulary)
    notes = Notes.of(table, vocabulary)
    times = table.values.times[table.values.types == _BAR].astype(np.int64)
    return bar_patterns(notes.select(np.isin(notes.parts, parts)), times, vocabulary)
