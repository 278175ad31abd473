"""Changes of token ids that change no other event: key, program, loudness and tempo."""

import numpy as np
from jaxtyping import Integer

from rwkv_music.data.pieces import Ids
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Vocabulary
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
    pitched = within(ids, vocabulary.pitch)
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
    programs = np.flatnonzero(within(ids, vocabulary.program))
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
    velocities = np.flatnonzero(within(ids, vocabulary.velocity))
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
    tempos = np.flatnonzero(within(ids, vocabulary.tempo))
    has_fraction = within(ids[np.minimum(tempos + 1, len(ids) - 1)], vocabulary.tempo_fraction)
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


def within(ids: Ids, span: range) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Return which ids are in a range of the vocabulary."""
    return (ids >= span.start) & (ids < span.stop)
