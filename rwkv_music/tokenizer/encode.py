"""Score -> token ids: the events of the score on the grid, sorted and written."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt16

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.events import LAST_TIME, TIME_SHIFT, EventTable, Header, Keys
from rwkv_music.tokenizer.native import NativeLoops, native_loops
from rwkv_music.tokenizer.parts import Part, parts_of
from rwkv_music.tokenizer.quantize import (
    ControlColumns,
    Grid,
    NoteColumns,
    note_keys,
    pedal_keys,
    tempo_changes,
    tempo_keys,
)
from rwkv_music.tokenizer.token_bars import bar_keys, signature_segments
from rwkv_music.tokenizer.vocabulary import Vocabulary
from rwkv_music.tokenizer.writer import write_events

if TYPE_CHECKING:
    import symusic


def encode(score: "symusic.Score", vocabulary: Vocabulary) -> UInt16[np.ndarray, " tokens"]:
    """Return the canonical stream of a score; see `Tokenizer.encode`."""
    return write_events(events_of(score, vocabulary), vocabulary)


def events_of(score: "symusic.Score", vocabulary: Vocabulary) -> EventTable:
    """Return the events of a score, sorted.

    Raises:
        InputError: If the score cannot be written; see `Tokenizer.encode`.
    """
    parts = parts_of(score, vocabulary.max_parts)
    grid = Grid(score.ticks_per_quarter, vocabulary.steps_per_quarter)
    loops = native_loops()
    sounds, last_event, last_offset = _sound_keys(parts, grid, vocabulary, loops)
    tempo, times, values = tempo_changes(score, grid)
    if len(times):
        # A tempo that starts after the last sound is left out.
        audible = int(times.searchsorted(max(last_event, last_offset)))
        times, values = times[:audible], values[:audible]
        last_event = max(last_event, int(times.max(initial=0)))
    if last_event > LAST_TIME:
        raise InputError(
            f"the score is {last_event // vocabulary.steps_per_quarter} quarters long; at most "
            f"{LAST_TIME // vocabulary.steps_per_quarter} can be written: split it"
        )
    segments = signature_segments(score, grid.round_one)
    bars = bar_keys(segments, vocabulary, last_event)
    keys = np.concatenate([sounds, tempo_keys(times, values, vocabulary), bars])
    if loops:
        loops.sort(keys)
    else:
        keys.sort()
    programs = tuple(part.program for part in parts)
    header = Header(tempo, segments[0].numerator, segments[0].denominator, programs)
    return EventTable(header, keys)


def _sound_keys(
    parts: list[Part], grid: Grid, vocabulary: Vocabulary, loops: NativeLoops | None
) -> tuple[Keys, int, int]:
    """Return the keys of notes and pedals, the last event and the last offset in grid steps."""
    notes, controls = NoteColumns.of(parts), ControlColumns.of(parts)
    if loops:
        result = loops.sound_keys(notes, controls, grid.ticks, vocabulary)
        if result is not None:
            return result
    keys, last_event, last_offset = note_keys(notes, grid, vocabulary)
    pedals = pedal_keys(controls, grid)
    if len(pedals):
        last_event = max(last_event, int(pedals.max()) >> TIME_SHIFT)
    return np.concatenate([keys, pedals]), last_event, last_offset
