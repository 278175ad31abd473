"""Controls: soft wishes for a hole, as levels that are computed from music in training.

| control | what is measured over the notes to be written | levels begin at |
| - | - | - |
| density | onsets a quarter | `DENSITIES` |
| polyphony | mean number of notes that sound, while any does | `POLYPHONIES` |
| register | mean MIDI pitch | `REGISTERS` |
| leaps | share of the top line's intervals of more than two semitones | `LEAP_SHARES` |
| similarity | how similar each bar is to the most similar bar around the hole | `SIMILARITIES` |
| key | correlation with the key profiles of Krumhansl and Kessler (1982) | 12 major, 12 minor |

Drums count for density and similarity alone.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64

from rwkv_music.tokenizer.events import EventTable, EventType
from rwkv_music.tokenizer.vocabulary import TokenType, Vocabulary

ControlLevels = dict[int | None, dict[TokenType, int]]
"""For the whole hole (None) and for single parts: the level of each control that is stated."""

DENSITIES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.5, 7.0)
POLYPHONIES = (1.05, 1.5, 2.2, 3.2, 4.5)
REGISTERS = (36, 43, 50, 57, 64, 71, 78)
LEAP_SHARES = (0.15, 0.3, 0.45, 0.65)
SIMILARITIES = (0.3, 0.7)
_LARGEST_STEP = 2
_SLOTS_PER_QUARTER = 4
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
_NOTE, _DRUM, _BAR = int(EventType.NOTE), int(EventType.DRUM), int(EventType.BAR)


class Notes(NamedTuple):
    """Notes of a window, in grid steps."""

    onsets: Int64[np.ndarray, " notes"]
    durations: Int64[np.ndarray, " notes"]
    pitches: Int64[np.ndarray, " notes"]
    parts: Int64[np.ndarray, " notes"]
    is_drum: Bool[np.ndarray, " notes"]

    @classmethod
    def of(cls, table: EventTable, vocabulary: Vocabulary) -> "Notes":
        """Return the notes of a table."""
        values = table.values
        rows = np.flatnonzero(values.types >= _NOTE)
        durations = vocabulary.durations[values.third_tokens[rows] - vocabulary.duration.start]
        return cls(
            onsets=values.times[rows].astype(np.int64),
            durations=durations,
            pitches=values.pitches[rows].astype(np.int64),
            parts=values.parts[rows].astype(np.int64),
            is_drum=values.types[rows] == _DRUM,
        )

    def select(self, chosen: Bool[np.ndarray, " notes"]) -> "Notes":
        """Return some of the notes."""
        return Notes(*(column[chosen] for column in self))


def measure_part(notes: Notes, quarters: float) -> dict[TokenType, int]:
    """Return the levels of density, polyphony, register and leaps; only density for drums.

    Args:
        notes: The notes to be written, of one part or of all.
        quarters: Length of the bars in which they are.
    """
    levels = {TokenType.DENSITY: _level(len(notes.onsets) / quarters, DENSITIES)}
    pitched = notes.select(~notes.is_drum)
    if len(pitched.onsets):
        levels[TokenType.POLYPHONY] = _level(polyphony(pitched), POLYPHONIES)
        levels[TokenType.REGISTER] = _level(float(pitched.pitches.mean()), REGISTERS)
        leaps = leap_share(pitched)
        if leaps is not None:
            levels[TokenType.LEAPS] = _level(leaps, LEAP_SHARES)
    return levels


def polyphony(notes: Notes) -> float:
    """Return the mean number of notes that sound, over the time in which at least one does."""
    ends = notes.onsets + notes.durations
    order = np.argsort(notes.onsets, kind="stable")
    reached = np.maximum.accumulate(ends[order])
    gaps = np.maximum(notes.onsets[order][1:] - reached[:-1], 0).sum()
    sounding = int(reached[-1] - notes.onsets[order][0] - gaps)
    return float(notes.durations.sum()) / sounding


def leap_share(notes: Notes) -> float | None:
    """Return the share of the top line's intervals of more than two semitones; None without any."""
    order = np.lexsort((-notes.pitches, notes.onsets))
    onsets, first = np.unique(notes.onsets[order], return_index=True)
    if len(onsets) < 2:
        return None
    intervals = np.abs(np.diff(notes.pitches[order][first]))
    return float((intervals > _LARGEST_STEP).mean())


def key_level(notes: Notes) -> int | None:
    """Return the key, 0 to 11 for C to B major, 12 to 23 for minor; None without pitched notes."""
    pitched = notes.select(~notes.is_drum)
    if not len(pitched.onsets):
        return None
    weights = np.bincount(pitched.pitches % 12, weights=pitched.durations, minlength=12)
    if weights.std() == 0:
        return None
    return int((_key_profiles() @ ((weights - weights.mean()) / weights.std())).argmax())


def _key_profiles() -> Float[np.ndarray, "keys 12"]:
    profiles = [np.roll(profile, tonic) for profile in (_MAJOR, _MINOR) for tonic in range(12)]
    table = np.array(profiles)
    table -= table.mean(1, keepdims=True)
    table /= table.std(1, keepdims=True)
    return table


def mean_similarity(
    bars: Sequence[frozenset[tuple[int, int]]], context: Sequence[frozenset[tuple[int, int]]]
) -> float | None:
    """Return how similar each bar is to the most similar bar of the context, on average.

    Bars are sets of (sixteenth, pitch class); similarity is the size of the intersection over that
    of the union. Empty bars are left out; None where nothing can be compared.
    """
    known = [bar for bar in context if bar]
    own = [bar for bar in bars if bar]
    if not known or not own:
        return None
    best = [max(len(bar & other) / len(bar | other) for other in known) for bar in own]
    return sum(best) / len(best)


def bar_patterns(
    notes: Notes, bar_times: Int64[np.ndarray, " bars"], vocabulary: Vocabulary
) -> list[frozenset[tuple[int, int]]]:
    """Return the set of (sixteenth, pitch class) of each bar; drum keys count as 12 and more."""
    bars = bar_times.searchsorted(notes.onsets, side="right") - 1
    slots = (notes.onsets - bar_times[bars]) * _SLOTS_PER_QUARTER // vocabulary.steps_per_quarter
    classes = np.where(notes.is_drum, 12 + notes.pitches, notes.pitches % 12)
    patterns: list[set[tuple[int, int]]] = [set() for _ in bar_times]
    for bar, slot, pitch_class in zip(bars.tolist(), slots.tolist(), classes.tolist(), strict=True):
        patterns[bar].add((slot, pitch_class))
    return [frozenset(pattern) for pattern in patterns]


def similarity_level(similarity: float) -> int:
    """Return 2 for a repetition, 1 for a variation, 0 for a contrast."""
    return _level(similarity, SIMILARITIES)


def control_tokens(
    controls: Mapping[int | None, Mapping[TokenType, int]],
    listed: Sequence[int],
    vocabulary: Vocabulary,
) -> list[int]:
    """Return the tokens behind FILL: controls of the hole, then each listed part with its own."""
    tokens = _level_tokens(controls.get(None, {}), vocabulary)
    for part in listed:
        tokens += [vocabulary.part[part], *_level_tokens(controls.get(part, {}), vocabulary)]
    return tokens


def _level_tokens(levels: Mapping[TokenType, int], vocabulary: Vocabulary) -> list[int]:
    return [vocabulary.ranges[control][levels[control]] for control in sorted(levels)]


def _level(value: float, limits: Sequence[float]) -> int:
    return int(np.searchsorted(limits, value, side="right"))
