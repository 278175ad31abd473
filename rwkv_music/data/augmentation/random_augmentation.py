"""The augmentation of training examples."""

from dataclasses import dataclass, field

import numpy as np

from rwkv_music.data.augmentation.random_layout import RandomLayout
from rwkv_music.data.augmentation.token_changes import (
    replace_program,
    scale_tempo,
    shift_velocity,
    transpose_ids,
    within,
)
from rwkv_music.data.loading.completion_windows import Example
from rwkv_music.data.pieces import Ids
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Vocabulary
from rwkv_music.tokenizer.reader import read_whole
from rwkv_music.tokenizer.token_editing import without_part
from rwkv_music.tokenizer.vocabulary import DRUM_PROGRAM
from rwkv_music.tokenizer.writer import write_events


@dataclass(frozen=True, kw_only=True)
class RandomAugmentation:
    """Changes an example at random: key, instrument, loudness, tempo, parts and their layout.

    It is called with an example and a generator and returns the changed example. A completion that
    begins with a bar begins with the same bar, any other at the same index.
    """

    vocabulary: Vocabulary
    max_semitones: int = 6
    """Maximum transposition up or down, within the range of pitches below."""
    lowest_pitch: int = 24
    highest_pitch: int = 96
    """No transposition leads out of this range; a piece outside of it is not transposed."""
    program_fraction: float = 0.5
    """Fraction of examples that get another instrument."""
    max_velocity_bins: int = 6
    """Maximum change of loudness up or down, in velocity bins."""
    tempo_range: tuple[float, float] = (0.75, 1.33)
    """Smallest and largest factor of the tempo."""
    drop_fraction: float = 0.0
    """Fraction of examples with several parts that lose one of them."""
    layout: RandomLayout = field(default_factory=RandomLayout)
    """Changes of which notes are in which part, and where in the bar."""

    def __post_init__(self) -> None:
        low, high = self.tempo_range
        if not 0 < low <= high < np.inf:
            raise InputError(
                f"tempo_range is ({low}, {high}): give the smallest factor, above 0, then the "
                "largest"
            )
        for name in ("program_fraction", "drop_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        for name in ("max_semitones", "max_velocity_bins"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be at least 0, got {getattr(self, name)}")

    def __call__(self, example: Example, generator: np.random.Generator) -> Example:
        """Return the changed example."""
        ids = example.ids
        ids = transpose_ids(ids, self._semitones(ids, generator), self.vocabulary)
        if generator.random() < self.program_fraction:
            ids = replace_program(ids, int(generator.integers(DRUM_PROGRAM)), self.vocabulary)
        bins = int(generator.integers(-self.max_velocity_bins, self.max_velocity_bins + 1))
        ids = shift_velocity(ids, bins, self.vocabulary)
        low, high = np.log(self.tempo_range)
        ids = scale_tempo(ids, float(np.exp(generator.uniform(low, high))), self.vocabulary)
        if self.drop_fraction and generator.random() < self.drop_fraction:
            parts = int(within(ids, self.vocabulary.program).sum())
            ids = without_part(ids, int(generator.integers(parts)), self.vocabulary)
        start = example.completion_start
        bar = int((example.ids[:start] == self.vocabulary.BAR).sum())
        ids, removed_bars = self._with_layout(ids, generator, prompt_bars=bar)
        if example.ids[start] == self.vocabulary.BAR:
            start = _start_of_bar(ids, bar - removed_bars, self.vocabulary)
        return Example(ids=ids, completion_start=start)

    def _with_layout(
        self, ids: Ids, generator: np.random.Generator, *, prompt_bars: int
    ) -> tuple[Ids, int]:
        """Return the ids in another layout, and how many bars were left out at the beginning."""
        if self.layout.changes_nothing:
            return ids, 0
        table = read_whole(ids, self.vocabulary)
        changed, removed_bars = self.layout(
            table, generator, self.vocabulary, prompt_bars=prompt_bars
        )
        return (ids if changed is table else write_events(changed, self.vocabulary)), removed_bars

    def _semitones(self, ids: Ids, generator: np.random.Generator) -> int:
        pitched = ids[within(ids, self.vocabulary.pitch)]
        if not len(pitched):
            return 0
        lowest = int(pitched.min()) - self.vocabulary.pitch.start
        highest = int(pitched.max()) - self.vocabulary.pitch.start
        down = max(0, min(self.max_semitones, lowest - self.lowest_pitch))
        up = max(0, min(self.max_semitones, self.highest_pitch - highest))
        return int(generator.integers(-down, up + 1))


def _start_of_bar(ids: Ids, bar: int, vocabulary: Vocabulary) -> int:
    """Return the index of a bar's BAR token, or the length after the last bar."""
    bars = np.flatnonzero(ids == vocabulary.BAR)
    return int(bars[bar]) if bar < len(bars) else len(ids)
