"""Augmentation of examples: key, tempo, loudness, instrument and parts.

All functions work on token ids, so that training needs no scores. Each keeps the ids canonical:
they are what the tokenizer would have made of the changed music.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from rwkv_music.data.loading.completion_windows import Example
from rwkv_music.data.pieces import Ids
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Vocabulary
from rwkv_music.tokenizer.token_editing import without_part
from rwkv_music.tokenizer.vocabulary import (
    DRUM_PROGRAM,
    FASTEST_TEMPO_STEPS,
    SLOWEST_TEMPO,
    SLOWEST_TEMPO_STEPS,
    TEMPO_FRACTIONS,
    tempo_microseconds,
    tempo_steps,
)

_FRACTIONS = TEMPO_FRACTIONS

Indices = Integer[np.ndarray, " _"]


def transpose_ids(ids: Ids, semitones: int, vocabulary: Vocabulary) -> Ids:
    """Transpose all pitches except drums. Transposing back restores the ids.

    Raises:
        InputError: If a pitch would leave 0 to 127.
    """
    changed = ids.copy()
    pitched = _within(ids, vocabulary.pitch)
    moved = ids[pitched].astype(np.int64) + semitones
    span = vocabulary.pitch
    if len(moved) and not (span.start <= moved.min() and moved.max() < span.stop):
        low, high = moved.min() - semitones - span.start, moved.max() - semitones - span.start
        raise InputError(
            f"pitches {low} to {high} cannot be transposed by {semitones} semitones, they would "
            f"leave the range of 0 to 127: transpose by {-low} to {127 - high}"
        )
    changed[pitched] = moved
    return changed


def replace_program(ids: Ids, program: int, vocabulary: Vocabulary) -> Ids:
    """Change the program of all pitched parts, if they have the same one; otherwise do nothing.

    Parts are ordered by program, so that changing some of them would change their order.

    Raises:
        InputError: If there is no such program.
    """
    if not 0 <= program < DRUM_PROGRAM:
        raise InputError(f"program {program} does not exist: give one from 0 to 127")
    programs = np.flatnonzero(_within(ids, vocabulary.program))
    programs = programs[ids[programs] != vocabulary.program.start + DRUM_PROGRAM]
    if len(np.unique(ids[programs])) != 1:
        return ids
    changed = ids.copy()
    changed[programs] = vocabulary.program.start + program
    return changed


def shift_velocity(ids: Ids, bins: int, vocabulary: Vocabulary) -> Ids:
    """Shift the velocity of every note by `bins` velocity bins, clipped to the existing bins.

    Shifting back restores the ids if nothing was clipped.
    """
    velocities = np.flatnonzero(_within(ids, vocabulary.velocity))
    first, last = vocabulary.velocity.start, vocabulary.velocity[vocabulary.num_velocities_used - 1]
    moved = ids[velocities].astype(np.int64) + bins
    clipped = np.clip(moved, first, last)
    changed = ids.copy()
    changed[velocities] = clipped
    return changed if np.array_equal(clipped, moved) else _sort_notes(changed, velocities)


def _sort_notes(ids: Ids, velocities: Indices) -> Ids:
    """Sort notes of one pitch and onset by velocity and duration again.

    Args:
        ids: Canonical except for this order; changed in place.
        velocities: Indices of the velocity tokens.
    """
    follows = velocities[1:] == velocities[:-1] + 3
    is_same = follows & (ids[velocities[1:] - 1] == ids[velocities[:-1] - 1])
    group = np.cumsum(np.concatenate([[True], ~is_same]))
    order = velocities[np.lexsort((ids[velocities + 1], ids[velocities], group))]
    ids[velocities], ids[velocities + 1] = ids[order], ids[order + 1]
    return ids


def scale_tempo(ids: Ids, factor: float, vocabulary: Vocabulary) -> Ids:
    """Multiply all tempos by `factor`, clipped to the range of the vocabulary.

    A single tempo that is a whole number of quarters per minute is rounded to a whole number;
    others are rounded to 1/256, which may change the number of ids. Scaling by `1 / factor`
    restores each tempo up to this rounding.

    Returns:
        The changed ids; the ids as they are if two different tempos would become equal, since
        canonical ids never repeat a tempo.

    Raises:
        InputError: If the factor is not a positive number.
    """
    if not 0 < factor < np.inf:
        raise InputError(f"factor must be a finite number above 0, got {factor}")
    tempos = np.flatnonzero(_within(ids, vocabulary.tempo))
    has_fraction = _within(ids[np.minimum(tempos + 1, len(ids) - 1)], vocabulary.tempo_fraction)
    steps = (ids[tempos].astype(np.int64) - vocabulary.tempo.start + SLOWEST_TEMPO) * _FRACTIONS
    fractions = ids[tempos[has_fraction] + 1].astype(np.int64)
    steps[has_fraction] += fractions - vocabulary.tempo_fraction.start
    grain = _FRACTIONS if len(tempos) == 1 and not has_fraction.any() else 1
    scaled = grain * np.rint(steps * factor / grain).astype(np.int64)
    # Clipped, and rounded to whole microseconds per quarter like the tempos of a MIDI file.
    fastest = FASTEST_TEMPO_STEPS // grain * grain
    scaled = tempo_steps(tempo_microseconds(np.clip(scaled, SLOWEST_TEMPO_STEPS, fastest)))
    if (scaled[1:] == scaled[:-1]).any():
        return ids
    tokens = np.zeros((len(ids), 2), dtype=ids.dtype)
    tokens[:, 0] = ids
    tokens[tempos[has_fraction] + 1, 0] = vocabulary.PAD
    tokens[tempos, 0] = vocabulary.tempo.start - SLOWEST_TEMPO + scaled // _FRACTIONS
    fraction = scaled % _FRACTIONS
    tokens[tempos, 1] = (vocabulary.tempo_fraction.start + fraction) * (fraction > 0)
    changed: Ids = tokens[tokens != vocabulary.PAD]
    return changed


def _within(ids: Ids, span: range) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    return (ids >= span.start) & (ids < span.stop)


def _start_of_bar(ids: Ids, bar: int, vocabulary: Vocabulary) -> int:
    """Return the index of a bar's BAR token, or the length after the last bar."""
    bars = np.flatnonzero(ids == vocabulary.BAR)
    return int(bars[bar]) if bar < len(bars) else len(ids)


@dataclass(frozen=True, kw_only=True)
class RandomAugmentation:
    """Changes an example at random: key, instrument, loudness, tempo and parts.

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
            parts = int(_within(ids, self.vocabulary.program).sum())
            ids = without_part(ids, int(generator.integers(parts)), self.vocabulary)
        start = example.completion_start
        if example.ids[start] == self.vocabulary.BAR:
            bar = int((example.ids[:start] == self.vocabulary.BAR).sum())
            start = _start_of_bar(ids, bar, self.vocabulary)
        return Example(ids=ids, completion_start=start)

    def _semitones(self, ids: Ids, generator: np.random.Generator) -> int:
        pitched = ids[_within(ids, self.vocabulary.pitch)]
        if not len(pitched):
            return 0
        lowest = int(pitched.min()) - self.vocabulary.pitch.start
        highest = int(pitched.max()) - self.vocabulary.pitch.start
        down = max(0, min(self.max_semitones, lowest - self.lowest_pitch))
        up = max(0, min(self.max_semitones, self.highest_pitch - highest))
        return int(generator.integers(-down, up + 1))
