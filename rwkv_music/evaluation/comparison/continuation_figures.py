"""Figures of how a continuation relates to its prompt, for generated and real music alike.

Each function takes the prompt and the new bars and returns a number; NaN where it does not apply,
such as the drum density of music without drums. What is good is what real music has.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from rwkv_music.evaluation.comparison.passage import SLOTS, Passage

_BASS_BELOW = 52
"""Pitches below E3 count as bass."""
_STUCK_QUARTERS = 8
_MOST_CHORDS = 2
_FEWEST_ONSETS = 4
_KEPT = 0.25
# Krumhansl and Kessler, "Tracing the dynamic changes in perceived tonal organization" (1982).
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)

Figure = Callable[[Passage, Passage], float]
Pitches = Int[np.ndarray, " _"]


def notes_per_bar(_prompt: Passage, new: Passage) -> float:
    """Pitched notes in a bar."""
    return len(new.pitched.pitches) / new.num_bars


def polyphony(_prompt: Passage, new: Passage) -> float:
    """Mean number of pitched notes that sound together, while any sounds."""
    return float(new.pitched.durations.sum()) / max(_sounding_quarters(new.pitched), 1e-9)


def pitch_class_cosine(prompt: Passage, new: Passage) -> float:
    """Cosine of the numbers of notes of each pitch class in the prompt and in the new bars."""
    return _cosine(
        *(np.bincount(passage.pitched.pitches % 12, minlength=12) for passage in (prompt, new))
    )


def scale_consistency(_prompt: Passage, new: Passage) -> float:
    """Fraction of the notes in the best of the twelve diatonic scales."""
    classes = np.bincount(new.pitched.pitches % 12, minlength=12)
    scale = [0, 2, 4, 5, 7, 9, 11]
    best = max(classes[[(root + step) % 12 for step in scale]].sum() for root in range(12))
    return _ratio(float(best), float(classes.sum()))


def stepwise_melody(_prompt: Passage, new: Passage) -> float:
    """Fraction of the melody's intervals that are one or two semitones."""
    intervals = np.abs(np.diff(melody(new)))
    return _ratio(float(((intervals == 1) | (intervals == 2)).sum()), len(intervals))


def repeated_melody_notes(_prompt: Passage, new: Passage) -> float:
    """Fraction of the melody's intervals that are zero."""
    intervals = np.diff(melody(new))
    return _ratio(float((intervals == 0).sum()), len(intervals))


def bass_changes_per_bar(_prompt: Passage, new: Passage) -> float:
    """Changes of the lowest sounding pitch from quarter to quarter, in a bar."""
    return float((np.diff(bass(new)) != 0).sum()) / new.num_bars


def longest_bass_bars(_prompt: Passage, new: Passage) -> float:
    """Longest time with the same lowest pitch, in bars."""
    line = bass(new)
    if not len(line):
        return math.nan
    edges = np.flatnonzero(np.diff(line) != 0) + 1
    runs = np.diff(np.concatenate([[0], edges, [len(line)]]))
    return float(runs.max()) * new.num_bars / new.length


def groove_cosine(prompt: Passage, new: Passage) -> float:
    """Cosine of the numbers of onsets in each sixteenth of a bar, in prompt and new bars."""
    return _cosine(*(np.bincount(passage.slots, minlength=SLOTS) for passage in (prompt, new)))


def silence(_prompt: Passage, new: Passage) -> float:
    """Fraction of the time in which nothing sounds."""
    return 1 - _sounding_quarters(new) / new.length


def repeated_bars(_prompt: Passage, new: Passage) -> float:
    """Fraction of the new bars that equal the bar before."""
    pairs = zip(new.patterns, new.patterns[1:], strict=False)
    return _ratio(sum(bool(one) and one == other for one, other in pairs), new.num_bars - 1)


def distinct_bars(_prompt: Passage, new: Passage) -> float:
    """Number of different bars, divided by the number of bars."""
    return len(set(new.patterns)) / new.num_bars


def similarity_to_prompt(prompt: Passage, new: Passage) -> float:
    """Mean over the new bars of what each shares with the most similar bar of the prompt.

    Two bars share the notes of one sixteenth and pitch class, relative to those of either.
    """
    given = [_classes(pattern) for pattern in prompt.patterns]
    return float(
        np.mean(
            [max(_jaccard(_classes(bar), classes) for classes in given) for bar in new.patterns]
        )
    )


def silent_parts(prompt: Passage, new: Passage) -> float:
    """Fraction of the parts of the prompt that have no note in the new bars."""
    parts = set(prompt.parts.tolist())
    return _ratio(len(parts - set(new.parts.tolist())), len(parts))


def drum_density(prompt: Passage, new: Passage) -> float:
    """Drum notes in a new bar, relative to those in a bar of the prompt."""
    before = len(prompt.drums.pitches) / prompt.num_bars
    return _ratio(len(new.drums.pitches) / new.num_bars, before)


def note_length_divergence(prompt: Passage, new: Passage) -> float:
    """Jensen-Shannon divergence of the note lengths from those of the prompt, in nats."""
    edges = [0.1875, 0.375, 0.75, 1.25, 2.5, 5]
    before, after = (
        np.bincount(np.digitize(passage.pitched.durations, edges), minlength=7) + 1e-9
        for passage in (prompt, new)
    )
    if not len(prompt.pitched.pitches) or not len(new.pitched.pitches):
        return math.nan
    p, q = before / before.sum(), after / after.sum()
    middle = (p + q) / 2
    return float((p * np.log(p / middle)).sum() + (q * np.log(q / middle)).sum()) / 2


def cadence(prompt: Passage, new: Passage) -> float:
    """Whether the last bass note is the tonic of the prompt's key."""
    line = bass(new)
    return float(int(line[-1]) % 12 == tonic(prompt)) if len(line) else math.nan


def stuck(_prompt: Passage, new: Passage) -> float:
    """Whether for two bars of four quarters nothing begins but one chord, or two in alternation."""
    pitched = new.pitched
    moments = np.unique(np.round(pitched.onsets, 3))
    chords = [tuple(pitched.pitches[np.round(pitched.onsets, 3) == time]) for time in moments]
    for index, time in enumerate(moments):
        if time + _STUCK_QUARTERS > new.length + 1e-6:
            break
        stop = int(np.searchsorted(moments, time + _STUCK_QUARTERS))
        here = chords[index:stop]
        if len(here) >= _FEWEST_ONSETS and len(set(here)) <= _MOST_CHORDS:
            return 1.0
    return 0.0


def lost_bass(prompt: Passage, new: Passage) -> float:
    """Whether the bass notes of the prompt have nearly ended; NaN if it has none."""
    before, after = (
        _per_bar(passage, passage.pitched.pitches < _BASS_BELOW) for passage in (prompt, new)
    )
    return float(after < _KEPT * before) if before >= 0.5 else math.nan


def lost_melody(prompt: Passage, new: Passage) -> float:
    """Whether notes in the register of the prompt's melody have nearly ended."""
    line = melody(prompt)
    if len(line) < 2 * prompt.num_bars:
        return math.nan
    lowest = float(np.percentile(line, 25)) - 2
    before, after = (
        _per_bar(passage, passage.pitched.pitches >= lowest) for passage in (prompt, new)
    )
    return float(after < _KEPT * before)


def pitch_class_entropy(_prompt: Passage, new: Passage) -> float:
    """Entropy of the pitch classes in nats."""
    classes = np.bincount(new.pitched.pitches % 12, minlength=12)
    shares = classes[classes > 0] / max(1, classes.sum())
    return float(-(shares * np.log(shares)).sum())


def onsets_off_grid(_prompt: Passage, new: Passage) -> float:
    """Fraction of the notes that begin neither on a sixteenth nor on a third of a quarter."""
    thirds, sixteenths = new.onsets * 3, new.onsets * 4
    distances = [np.abs(positions - np.rint(positions)) for positions in (thirds, sixteenths)]
    return _ratio(float((np.minimum(*distances) > 0.04).sum()), len(new.onsets))


FIGURES: Sequence[Figure] = (
    notes_per_bar, polyphony, pitch_class_cosine, scale_consistency, stepwise_melody,
    repeated_melody_notes, pitch_class_entropy, onsets_off_grid,
    bass_changes_per_bar, longest_bass_bars, groove_cosine, silence,
    repeated_bars, distinct_bars, similarity_to_prompt, silent_parts, drum_density,
    note_length_divergence, cadence, stuck, lost_bass, lost_melody,
)  # fmt: skip


def continuation_figures(prompt: Passage, new: Passage) -> dict[str, float]:
    """Return every figure by its name; NaN where it does not apply.

    Args:
        prompt: The bars before.
        new: The bars after; at least one.
    """
    figures = {}
    for figure in FIGURES:
        needs_notes = figure not in (silence, silent_parts, drum_density, lost_bass, lost_melody)
        has_notes = len(new.pitched.pitches) > 0
        name = getattr(figure, "__name__", "")
        figures[name] = figure(prompt, new) if has_notes or not needs_notes else math.nan
    return figures


def melody(passage: Passage) -> Pitches:
    """Return the highest pitch at each onset."""
    pitched = passage.pitched
    if not len(pitched.pitches):
        return pitched.pitches
    last = np.append(np.diff(pitched.onsets) > 1e-6, True)
    line: np.ndarray = pitched.pitches[last]
    return line


def bass(passage: Passage) -> Pitches:
    """Return the lowest sounding pitch at each quarter; that of the quarter before in silence."""
    pitched = passage.pitched
    line: list[int] = []
    for quarter in range(math.ceil(passage.length)):
        middle = quarter + 0.05
        sounds = (pitched.onsets <= middle) & (pitched.onsets + pitched.durations > middle)
        if sounds.any():
            line.append(int(pitched.pitches[sounds].min()))
        elif line:
            line.append(line[-1])
    return np.array(line, dtype=np.int64)


def tonic(passage: Passage) -> int:
    """Return the tonic of the key that fits best (Krumhansl and Kessler 1982), 0 for C."""
    pitched = passage.pitched
    classes = np.bincount(pitched.pitches % 12, weights=pitched.durations, minlength=12)
    fits = {
        (root, profile): float(np.corrcoef(classes, np.roll(profile, root))[0, 1])
        for root in range(12)
        for profile in (_MAJOR, _MINOR)
        if classes.std()
    }
    return max(fits, key=lambda key: fits[key])[0] if fits else -1


def _sounding_quarters(passage: Passage) -> float:
    """Return the time in which any note sounds."""
    if not len(passage.onsets):
        return 0.0
    ends = np.maximum.accumulate(passage.onsets + passage.durations)
    gaps = np.maximum(passage.onsets[1:] - ends[:-1], 0)
    return float(ends[-1] - passage.onsets[0] - gaps.sum())


def _per_bar(passage: Passage, chosen: np.ndarray) -> float:
    return float(chosen.sum()) / passage.num_bars


def _classes(pattern: frozenset[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return the notes of a bar by pitch class; drums by their own number."""
    return {(slot, pitch % 12 if pitch < 128 else pitch) for slot, pitch in pattern}


def _jaccard(one: set[tuple[int, int]], other: set[tuple[int, int]]) -> float:
    return len(one & other) / len(one | other) if one or other else 1.0


def _cosine(one: Float[np.ndarray, " n"] | np.ndarray, other: np.ndarray) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else math.nan


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
