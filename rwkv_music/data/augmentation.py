"""Changes to an example that leave it good music: key, tempo, loudness, instrument, parts.

All of them work on token ids, so training needs no score in memory. Each keeps the stream
canonical: what the tokenizer would have written for the changed music.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from rwkv_music.data.loading.completion_windows import Example
from rwkv_music.data.pieces import Ids
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Vocabulary
from rwkv_music.tokenizer.editing import without_part
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

Places = Integer[np.ndarray, " _"]


def transpose_ids(ids: Ids, semitones: int, vocabulary: Vocabulary) -> Ids:
    """Move every pitch by `semitones`; drums stay. Moving back gives the ids again.

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
            f"pitches {low} to {high} cannot be moved by {semitones} semitones, they would leave 0 "
            f"to 127: move them by {-low} to {127 - high}"
        )
    changed[pitched] = moved
    return changed


def replace_program(ids: Ids, program: int, vocabulary: Vocabulary) -> Ids:
    """Give all pitched parts one instrument, if they share one already; else change nothing.

    Parts are ordered by program, so changing some of them would change their order too.

    Raises:
        InputError: If there is no such program.
    """
    if not 0 <= program < DRUM_PROGRAM:
        raise InputError(f"program {program} does not exist: give one from 0 to 127")
    places = np.flatnonzero(_within(ids, vocabulary.program))
    places = places[ids[places] != vocabulary.program.start + DRUM_PROGRAM]
    if len(np.unique(ids[places])) != 1:
        return ids
    changed = ids.copy()
    changed[places] = vocabulary.program.start + program
    return changed


def shift_velocity(ids: Ids, bins: int, vocabulary: Vocabulary) -> Ids:
    """Make every note louder or softer by `bins` velocity bins, held within the bins there are.

    Where no note reaches an end of the bins, shifting back gives the ids again.
    """
    struck = np.flatnonzero(_within(ids, vocabulary.velocity))
    first, last = vocabulary.velocity.start, vocabulary.velocity[vocabulary.num_velocities_used - 1]
    moved = ids[struck].astype(np.int64) + bins
    held = np.clip(moved, first, last)
    changed = ids.copy()
    changed[struck] = held
    return changed if np.array_equal(held, moved) else _in_order(changed, struck)


def _in_order(ids: Ids, struck: Places) -> Ids:
    """Notes of one pitch at one moment, sorted by velocity and duration again.

    Args:
        ids: Canonical but for that; changed in place.
        struck: Where the velocities are.
    """
    follows = struck[1:] == struck[:-1] + 3
    is_same = follows & (ids[struck[1:] - 1] == ids[struck[:-1] - 1])
    group = np.cumsum(np.concatenate([[True], ~is_same]))
    order = struck[np.lexsort((ids[struck + 1], ids[struck], group))]
    ids[struck], ids[struck + 1] = ids[order], ids[order + 1]
    return ids


def scale_tempo(ids: Ids, factor: float, vocabulary: Vocabulary) -> Ids:
    """Multiply all tempos by `factor`, held within what can be written.

    A single tempo that is a whole number becomes the nearest whole number of quarters per minute;
    others go to the nearest 1/256, so that the ids may become longer or shorter. Scaling by
    `1 / factor` gives each tempo back to 1/256 quarter per minute and the rounding before it.

    Returns:
        The changed ids; the ids as they are if two tempos that differ would become equal, since a
        stream that states a tempo twice is not canonical.

    Raises:
        InputError: If the factor is not a positive number.
    """
    if not 0 < factor < np.inf:
        raise InputError(f"a tempo cannot be multiplied by {factor}: give a number above 0")
    places = np.flatnonzero(_within(ids, vocabulary.tempo))
    has_fraction = _within(ids[np.minimum(places + 1, len(ids) - 1)], vocabulary.tempo_fraction)
    steps = (ids[places].astype(np.int64) - vocabulary.tempo.start + SLOWEST_TEMPO) * _FRACTIONS
    behind = ids[places[has_fraction] + 1].astype(np.int64)
    steps[has_fraction] += behind - vocabulary.tempo_fraction.start
    grain = _FRACTIONS if len(places) == 1 and not has_fraction.any() else 1
    scaled = grain * np.rint(steps * factor / grain).astype(np.int64)
    # Within the limits, and as a file can hold it: in whole microseconds a quarter.
    fastest = FASTEST_TEMPO_STEPS // grain * grain
    scaled = tempo_steps(tempo_microseconds(np.clip(scaled, SLOWEST_TEMPO_STEPS, fastest)))
    if (scaled[1:] == scaled[:-1]).any():
        return ids
    tokens = np.zeros((len(ids), 2), dtype=ids.dtype)
    tokens[:, 0] = ids
    tokens[places[has_fraction] + 1, 0] = vocabulary.PAD
    tokens[places, 0] = vocabulary.tempo.start - SLOWEST_TEMPO + scaled // _FRACTIONS
    fraction = scaled % _FRACTIONS
    tokens[places, 1] = (vocabulary.tempo_fraction.start + fraction) * (fraction > 0)
    changed: Ids = tokens[tokens != vocabulary.PAD]
    return changed


def _within(ids: Ids, span: range) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    return (ids >= span.start) & (ids < span.stop)


def _place_of_bar(ids: Ids, bar: int, vocabulary: Vocabulary) -> int:
    """The index of a bar's BAR token; behind the last bar, the length."""
    bars = np.flatnonzero(ids == vocabulary.BAR)
    return int(bars[bar]) if bar < len(bars) else len(ids)


@dataclass(frozen=True, kw_only=True)
class RandomAugmentation:
    """Draws one change of each kind for an example.

    Calling it with an example and a generator gives the changed example. A completion that begins
    with a bar begins with the same bar, any other at the same place.
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
    drop_share: float = 0.0
    """Share of examples of several parts that lose one of them."""

    def __post_init__(self) -> None:
        low, high = self.tempo_range
        if not 0 < low <= high < np.inf:
            raise InputError(
                f"tempo_range is ({low}, {high}): give the smallest above 0, then the largest"
            )
        for name in ("program_share", "drop_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}: give a share of 0 to 1")
        for name in ("max_semitones", "max_velocity_bins"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}: give 0 or more")

    def __call__(self, example: Example, generator: np.random.Generator) -> Example:
        """The example in another key, tempo, loudness and perhaps on another instrument."""
        ids = example.ids
        ids = transpose_ids(ids, self._semitones(ids, generator), self.vocabulary)
        if generator.random() < self.program_share:
            ids = replace_program(ids, int(generator.integers(DRUM_PROGRAM)), self.vocabulary)
        bins = int(generator.integers(-self.max_velocity_bins, self.max_velocity_bins + 1))
        ids = shift_velocity(ids, bins, self.vocabulary)
        low, high = np.log(self.tempo_range)
        ids = scale_tempo(ids, float(np.exp(generator.uniform(low, high))), self.vocabulary)
        if self.drop_share and generator.random() < self.drop_share:
            parts = int(_within(ids, self.vocabulary.program).sum())
            ids = without_part(ids, int(generator.integers(parts)), self.vocabulary)
        start = example.completion_start
        if example.ids[start] == self.vocabulary.BAR:
            bar = int((example.ids[:start] == self.vocabulary.BAR).sum())
            start = _place_of_bar(ids, bar, self.vocabulary)
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
