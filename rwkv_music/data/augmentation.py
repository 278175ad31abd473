"""Changes to an example that leave it good music: key, tempo, loudness, instrument.

All of them work on token ids, so training needs no score in memory. Each keeps the stream
canonical: what the tokenizer would have written for the changed music.
"""

from dataclasses import dataclass

import numpy as np

from rwkv_music.data.dataset import Example, Ids
from rwkv_music.tokenizer import Vocabulary

_DRUM_PROGRAM = 128


def transpose_ids(ids: Ids, semitones: int, vocabulary: Vocabulary) -> Ids:
    """Move every pitch by `semitones`; drums stay. Out-of-range pitches are the caller's affair."""
    changed = ids.copy()
    pitched = _within(ids, vocabulary.pitch)
    changed[pitched] = (ids[pitched].astype(np.int64) + semitones).astype(ids.dtype)
    return changed


def replace_program(ids: Ids, program: int, vocabulary: Vocabulary) -> Ids:
    """Give all pitched parts one instrument, if they share one already; else change nothing.

    Parts are ordered by program, so changing some of them would change their order too.
    """
    places = np.flatnonzero(_within(ids, vocabulary.program))
    places = places[ids[places] != vocabulary.program.start + _DRUM_PROGRAM]
    if len(np.unique(ids[places])) != 1:
        return ids
    changed = ids.copy()
    changed[places] = vocabulary.program.start + program
    return changed


def shift_velocity(ids: Ids, bins: int, vocabulary: Vocabulary) -> Ids:
    """Make every note louder or softer by `bins` velocity bins, held within the bins there are.

    Only a stream of one single velocity is changed: then no two notes can swap their order.
    """
    struck = _within(ids, vocabulary.velocity)
    if len(np.unique(ids[struck])) != 1:
        return ids
    changed = ids.copy()
    moved = ids[struck].astype(np.int64) + bins
    limits = vocabulary.velocity
    changed[struck] = np.clip(moved, limits.start, limits.stop - 1).astype(ids.dtype)
    return changed


def scale_tempo(ids: Ids, factor: float, vocabulary: Vocabulary) -> Ids:
    """Multiply the tempo by `factor`, to the nearest whole quarter per minute.

    Only an example with one tempo, and that a whole number, is changed: two rounded tempos could
    become equal, and a stream that states a tempo twice is not canonical.
    """
    places = np.flatnonzero(_within(ids, vocabulary.tempo))
    if len(places) != 1 or _within(ids, vocabulary.tempo_fraction).any():
        return ids
    slowest = 8
    value = (int(ids[places[0]]) - vocabulary.tempo.start + slowest) * factor
    index = int(np.clip(round(value) - slowest, 0, len(vocabulary.tempo) - 1))
    changed = ids.copy()
    changed[places[0]] = vocabulary.tempo.start + index
    return changed


def _within(ids: Ids, span: range) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    return (ids >= span.start) & (ids < span.stop)


@dataclass(frozen=True, kw_only=True)
class RandomAugmentation:
    """Draws one change of each kind for an example.

    Calling it with an example and a generator gives the changed example; the completion begins at
    the same place, since no token is added or taken away.
    """

    vocabulary: Vocabulary
    max_semitones: int = 6
    """Transposed by up to this much either way, as far as the range of pitches below allows."""
    lowest_pitch: int = 24
    highest_pitch: int = 96
    """No transposition leads out of these; a piece that is outside already stays where it is."""
    program_share: float = 0.5
    """Share of examples that are given another instrument."""
    max_velocity_bins: int = 6
    tempo_range: tuple[float, float] = (0.75, 1.33)

    def __call__(self, example: Example, generator: np.random.Generator) -> Example:
        """The example in another key, tempo, loudness and perhaps on another instrument."""
        ids = example.ids
        ids = transpose_ids(ids, self._semitones(ids, generator), self.vocabulary)
        if generator.random() < self.program_share:
            ids = replace_program(ids, int(generator.integers(_DRUM_PROGRAM)), self.vocabulary)
        bins = int(generator.integers(-self.max_velocity_bins, self.max_velocity_bins + 1))
        ids = shift_velocity(ids, bins, self.vocabulary)
        low, high = np.log(self.tempo_range)
        ids = scale_tempo(ids, float(np.exp(generator.uniform(low, high))), self.vocabulary)
        return Example(ids=ids, completion_start=example.completion_start)

    def _semitones(self, ids: Ids, generator: np.random.Generator) -> int:
        pitched = ids[_within(ids, self.vocabulary.pitch)]
        if not len(pitched):
            return 0
        lowest = int(pitched.min()) - self.vocabulary.pitch.start
        highest = int(pitched.max()) - self.vocabulary.pitch.start
        down = max(0, min(self.max_semitones, lowest - self.lowest_pitch))
        up = max(0, min(self.max_semitones, self.highest_pitch - highest))
        return int(generator.integers(-down, up + 1))
