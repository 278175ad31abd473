"""The right edge of a hole: no note sounds beyond it."""

import numpy as np
from jaxtyping import Int64, UInt16

from rwkv_music.tokenizer.events import TOKEN_MASK, EventTable, EventType
from rwkv_music.tokenizer.holes.boundary import signature_of
from rwkv_music.tokenizer.reader import read_whole
from rwkv_music.tokenizer.vocabulary import Vocabulary
from rwkv_music.tokenizer.writer import write_events

Ids = UInt16[np.ndarray, " _"]
_BAR, _CUT, _NOTE = int(EventType.BAR), int(EventType.CUT), int(EventType.NOTE)


def end_notes_at_edge(ids: Ids, vocabulary: Vocabulary) -> Ids:
    """Return a window in which no note sounds beyond its end.

    A reader expects that the time signature stays, so that a note in front of a change may not
    sound beyond the end expected before or behind it either. A note that would gets the longest
    duration that fits.
    """
    table = read_whole(ids, vocabulary)
    durations, values = vocabulary.durations, table.values
    notes = np.flatnonzero(values.types >= _NOTE)
    lengths = durations[values.third_tokens[notes] - vocabulary.duration.start]
    bar_times, ends = bar_ends(table, vocabulary)
    bars = bar_times.searchsorted(values.times[notes], side="right") - 1
    fits = earliest_ends(ends)[bars] - values.times[notes]
    is_long = lengths > fits
    if not is_long.any():
        return ids
    shorter = durations.searchsorted(fits[is_long], side="right") - 1
    keys = table.keys.copy()
    rows = notes[is_long]
    keys[rows] = (keys[rows] & ~np.int64(TOKEN_MASK)) | (vocabulary.duration.start + shorter)
    keys.sort()
    return write_events(EventTable(table.header, keys, is_complete=table.is_complete), vocabulary)


def earliest_ends(ends: Int64[np.ndarray, " bars"]) -> Int64[np.ndarray, " bars"]:
    """Return for each bar the earliest of the ends that are expected in it and in later bars.

    Args:
        ends: The second result of `bar_ends`.
    """
    return np.asarray(np.minimum.accumulate(ends[::-1])[::-1])


def bar_ends(
    table: EventTable, vocabulary: Vocabulary
) -> tuple[Int64[np.ndarray, " bars"], Int64[np.ndarray, " bars"]]:
    """Return when each bar of a window begins, and when the window ends as expected there.

    The last of the expected ends is the real one.
    """
    numerator, denominator = table.header.numerator, table.header.denominator
    whole = 4 * vocabulary.steps_per_quarter
    rows = np.flatnonzero(table.values.types == _BAR)
    times = table.values.times[rows].astype(np.int64)
    full = np.zeros(len(rows), dtype=np.int64)
    for bar, row in enumerate(rows.tolist()):
        if table.values.third_tokens[row]:
            numerator, denominator = signature_of(int(table.keys[row]), vocabulary)
        full[bar] = whole * numerator // denominator
    cuts = table.values.times[table.values.types == _CUT].astype(np.int64)
    last = times[-1] + full[-1]
    if len(cuts) and cuts[-1] > times[-1]:
        last = cuts[-1]
    stops = np.append(times[1:], last)
    bars_left = np.arange(len(rows) - 1, -1, -1)
    return times, stops + bars_left * full
