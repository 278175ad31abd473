"""Some bars of a score as arrays of notes, for figures of music."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from rwkv_music.evaluation.statistics import lines_from

if TYPE_CHECKING:
    import symusic

SLOTS = 16
"""Parts of a bar in which onsets are counted."""

Pattern = frozenset[tuple[int, int]]
"""The notes of a bar as pairs of slot and pitch; drums are pitches from 128 on."""


@dataclass(frozen=True)
class Passage:
    """The notes that begin in some bars, sorted by onset and pitch."""

    onsets: Float[np.ndarray, " notes"]
    """In quarters from the first bar line."""
    durations: Float[np.ndarray, " notes"]
    """In quarters; notes end with the passage at the latest."""
    pitches: Int[np.ndarray, " notes"]
    parts: Int[np.ndarray, " notes"]
    """Index of each note's track."""
    is_drum: Bool[np.ndarray, " notes"]
    lines: Float[np.ndarray, " lines"]
    """Bar lines in quarters, the first one at 0."""

    @property
    def num_bars(self) -> int:
        """Number of bars."""
        return len(self.lines) - 1

    @property
    def length(self) -> float:
        """Length in quarters."""
        return float(self.lines[-1])

    @cached_property
    def pitched(self) -> "Passage":
        """The passage without drums."""
        return self.select(~self.is_drum)

    @cached_property
    def drums(self) -> "Passage":
        """The drums alone."""
        return self.select(self.is_drum)

    @cached_property
    def bars(self) -> Int[np.ndarray, " notes"]:
        """The bar in which each note begins."""
        bars: np.ndarray = np.searchsorted(self.lines, self.onsets, side="right") - 1
        return bars

    @cached_property
    def slots(self) -> Int[np.ndarray, " notes"]:
        """The slot of its bar in which each note begins."""
        lengths = np.diff(self.lines)[self.bars]
        exact = np.floor((self.onsets - self.lines[self.bars]) / lengths * SLOTS + 1e-6)
        slots: np.ndarray = np.minimum(exact, SLOTS - 1).astype(np.int64)
        return slots

    @cached_property
    def patterns(self) -> list[Pattern]:
        """The pattern of each bar."""
        pitches = self.pitches + 128 * self.is_drum
        columns = (self.bars.tolist(), self.slots.tolist(), pitches.tolist())
        notes: list[set[tuple[int, int]]] = [set() for _ in range(self.num_bars)]
        for bar, slot, pitch in zip(*columns, strict=True):
            notes[bar].add((slot, pitch))
        return [frozenset(pattern) for pattern in notes]

    def select(self, chosen: Bool[np.ndarray, " notes"]) -> "Passage":
        """Return the passage with some of its notes."""
        return Passage(
            self.onsets[chosen],
            self.durations[chosen],
            self.pitches[chosen],
            self.parts[chosen],
            self.is_drum[chosen],
            self.lines,
        )

    def take_bars(self, start: int, stop: int) -> "Passage":
        """Return the notes that begin in some of the bars; notes end with them at the latest."""
        chosen = self.select((self.bars >= start) & (self.bars < stop))
        begin, end = self.lines[start], self.lines[stop]
        return Passage(
            chosen.onsets - begin,
            np.minimum(chosen.durations, end - chosen.onsets),
            chosen.pitches,
            chosen.parts,
            chosen.is_drum,
            self.lines[start : stop + 1] - begin,
        )


def passage_of(score: "symusic.Score", *, start_tick: int = 0, num_bars: int) -> Passage:
    """Return the passage of the bars from a bar line on.

    Args:
        score: A score in ticks.
        start_tick: Tick of a bar line.
        num_bars: Number of bars; bars past the end are empty.

    Raises:
        InputError: If the tick is not a bar line.
    """
    lines = lines_from(score, start_tick, num_bars)
    rows = [np.zeros((0, 5), dtype=np.int64)]
    for index, track in enumerate(score.tracks):
        table = track.notes.numpy()
        columns = [table["time"], table["duration"], table["pitch"]]
        constant = [np.full(len(table["time"]), value) for value in (index, int(track.is_drum))]
        rows.append(np.stack([*columns, *constant], axis=1).astype(np.int64))
    notes = np.concatenate(rows)
    notes = notes[(notes[:, 0] >= start_tick) & (notes[:, 0] < lines[-1])]
    notes = notes[np.lexsort((notes[:, 2], notes[:, 0]))]
    quarter = score.ticks_per_quarter
    durations = np.minimum(notes[:, 1], lines[-1] - notes[:, 0])
    return Passage(
        onsets=(notes[:, 0] - start_tick) / quarter,
        durations=durations / quarter,
        pitches=notes[:, 2],
        parts=notes[:, 3],
        is_drum=notes[:, 4].astype(bool),
        lines=(lines - start_tick) / quarter,
    )
