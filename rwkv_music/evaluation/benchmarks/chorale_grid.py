"""JSB Chorales on the 16th-note grid: reading, transposing, and what a model is told of the past.

Source: the split of Boulanger-Lewandowski et al. (2012) as CSV files, one row a 16th note, one
column a voice, MIDI pitches or 0 for silence.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from rwkv_music.errors import InputError

VOICES = 4
LOWEST_PITCH, HIGHEST_PITCH = 36, 81
NUM_SYMBOLS = HIGHEST_PITCH - LOWEST_PITCH + 2
"""Symbol 0 is silence, and 1 to 46 are the pitches."""
START = NUM_SYMBOLS
"""What stands in front of the first step."""
SPLITS = ("train", "valid", "test")
LONGEST_AGE = 32
WIDEST_INTERVAL = 12
BEAT_STEPS, BAR_STEPS = 4, 16
MELODY_BEATS = 16
"""Length of the runs by which tunes are compared."""

Symbols = Int[np.ndarray, "steps voices"]


@dataclass(frozen=True)
class ChoraleGrid:
    """One chorale."""

    name: str
    symbols: Symbols

    def transposed(self, semitones: int) -> "ChoraleGrid | None":
        """Return the chorale transposed, or None if a voice would leave the range."""
        sounding = self.symbols[self.symbols > 0]
        if len(sounding) and not (
            sounding.min() + semitones >= 1 and sounding.max() + semitones < NUM_SYMBOLS
        ):
            return None
        return ChoraleGrid(self.name, np.where(self.symbols > 0, self.symbols + semitones, 0))


def read_chorales(folder: Path, split: str) -> list[ChoraleGrid]:
    """Read the chorales of a split.

    Args:
        folder: With the folders train, valid and test of CSV files.
        split: One of them.

    Raises:
        InputError: If there are no such files, or one holds something else.
    """
    files = sorted((folder / split).glob("*.csv"))
    if not files:
        raise InputError(
            f"{folder / split} has no CSV files: the benchmark needs a folder of the JSB chorales "
            "with the folders train, valid and test, one row of four pitches for each 16th note"
        )
    return [ChoraleGrid(file.stem, _read_symbols(file)) for file in files]


def _read_symbols(file: Path) -> Symbols:
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            pitches = np.array(list(csv.reader(stream))[1:], dtype=np.int64)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is not a table of pitches: {error}") from error
    if pitches.ndim != 2 or pitches.shape[1] != VOICES:
        raise InputError(f"{file} needs rows of {VOICES} pitches, below one line of names")
    is_silent = pitches == 0
    outside = pitches[~is_silent & ((pitches < LOWEST_PITCH) | (pitches > HIGHEST_PITCH))]
    if len(outside):
        raise InputError(
            f"{file} has the pitch {outside[0]}: pitches are {LOWEST_PITCH} to {HIGHEST_PITCH}, "
            "or 0 for silence"
        )
    return np.where(is_silent, 0, pitches - LOWEST_PITCH + 1)


@dataclass(frozen=True)
class StepInputs:
    """What is known in front of each step of one chorale, from the steps before alone."""

    symbols: Symbols
    """Symbol of each voice one step before; START at the beginning."""
    ages: Symbols
    """Steps for which it has been so, at most `LONGEST_AGE`."""
    intervals: Symbols
    """Interval from the voice's symbol before that, 1 to 25 (13 is none); 0 where unknown."""
    chords: Symbols
    """Pitch class of each voice above the lowest one that sounds, 1 to 12; 0 in silence."""
    beats: Int[np.ndarray, " steps"]
    """Place in a bar of 16 steps, counted from the first row."""


def step_inputs(chorale: ChoraleGrid) -> StepInputs:
    """Return what is known in front of each step."""
    steps = len(chorale.symbols)
    before = np.full((steps, VOICES), START, dtype=np.int64)
    before[1:] = chorale.symbols[:-1]
    ages, intervals = np.zeros_like(before), np.zeros_like(before)
    for step in range(1, steps):
        same = before[step] == before[step - 1]
        ages[step] = np.where(same, np.minimum(ages[step - 1] + 1, LONGEST_AGE), 1)
        moved = before[step] - before[step - 1]
        is_known = (before[step] > 0) & (before[step - 1] > 0) & (before[step - 1] < START)
        new = np.clip(moved, -WIDEST_INTERVAL, WIDEST_INTERVAL) + WIDEST_INTERVAL + 1
        intervals[step] = np.where(same, intervals[step - 1], np.where(is_known, new, 0))
    sounds = (before > 0) & (before < START)
    lowest = np.where(sounds, before, START).min(axis=1, keepdims=True)
    chords = np.where(sounds, (before - lowest) % 12 + 1, 0)
    return StepInputs(before, ages, intervals, chords, np.arange(steps) % BAR_STEPS)


def melody(chorale: ChoraleGrid, voice: int = 0) -> list[tuple[int, ...]]:
    """Return all runs of `MELODY_BEATS` intervals from beat to beat: the same in every key."""
    moves = np.diff(chorale.symbols[::BEAT_STEPS, voice]).tolist()
    return [tuple(moves[first:][:MELODY_BEATS]) for first in range(len(moves) - MELODY_BEATS + 1)]


def with_new_soprano(
    chorales: Sequence[ChoraleGrid], training: Sequence[ChoraleGrid]
) -> list[ChoraleGrid]:
    """Return the chorales of whose soprano at most half stands in a training chorale, in any key.

    Bach set many hymn tunes more than once, and the split does not keep them apart.
    """
    known = {run for chorale in training for run in melody(chorale)}
    is_known = {chorale.name: [run in known for run in melody(chorale)] for chorale in chorales}
    return [
        chorale
        for chorale in chorales
        if 2 * sum(is_known[chorale.name]) <= len(is_known[chorale.name])
    ]
