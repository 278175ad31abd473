"""Names of pitches, scales and chords: "C4", "A minor", "Am7"."""

import re

import numpy as np
from jaxtyping import Bool

from rwkv_music.errors import InputError

PitchMask = Bool[np.ndarray, " pitches"]
"""128 entries, one per MIDI pitch."""

_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {"#": 1, "♯": 1, "b": -1, "♭": -1}
_NOTE = r"([A-G])([#b♯♭]*)"
_PITCH = re.compile(rf"{_NOTE}(-?\d+)")
_SCALE = re.compile(rf"{_NOTE}\s+(\w[\w ]*)")
_CHORD = re.compile(rf"{_NOTE}([^/]*)(?:/{_NOTE})?")

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "melodic minor": (0, 2, 3, 5, 7, 9, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "locrian": (0, 1, 3, 5, 6, 8, 10),
    "major pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
    "blues": (0, 3, 5, 6, 7, 10),
    "whole tone": (0, 2, 4, 6, 8, 10),
    "chromatic": tuple(range(12)),
}
"""Semitones above the tonic."""

CHORDS = {
    "": (0, 4, 7), "maj": (0, 4, 7), "M": (0, 4, 7),
    "m": (0, 3, 7), "min": (0, 3, 7), "-": (0, 3, 7),
    "5": (0, 7), "6": (0, 4, 7, 9), "m6": (0, 3, 7, 9),
    "7": (0, 4, 7, 10), "maj7": (0, 4, 7, 11), "M7": (0, 4, 7, 11), "m7": (0, 3, 7, 10),
    "min7": (0, 3, 7, 10), "mMaj7": (0, 3, 7, 11), "mM7": (0, 3, 7, 11),
    "dim": (0, 3, 6), "dim7": (0, 3, 6, 9), "m7b5": (0, 3, 6, 10), "aug": (0, 4, 8),
    "+": (0, 4, 8), "sus2": (0, 2, 7), "sus4": (0, 5, 7), "7sus4": (0, 5, 7, 10),
    "add9": (0, 2, 4, 7), "9": (0, 2, 4, 7, 10), "maj9": (0, 2, 4, 7, 11), "m9": (0, 2, 3, 7, 10),
    "11": (0, 2, 4, 5, 7, 10), "13": (0, 2, 4, 7, 9, 10),
}  # fmt: skip
"""Semitones above the root."""


def pitch_number(pitch: str | int) -> int:
    """Return the MIDI number of a pitch: 60 for "C4" and for 60.

    Raises:
        InputError: If it is neither, or not in the range 0 to 127.
    """
    midi_pitch = pitch if isinstance(pitch, int) else _named_pitch(pitch)
    if not 0 <= midi_pitch <= 127:
        raise InputError(f"pitch {pitch} is out of range: choose one from C-1 (0) to G9 (127)")
    return midi_pitch


def _named_pitch(name: str) -> int:
    match = _PITCH.fullmatch(name.strip())
    if match is None:
        raise InputError(f"'{name}' is no pitch: write a letter and an octave, such as C4 or Bb3")
    return _pitch_class(match[1], match[2], wraps=False) + 12 * (int(match[3]) + 1)


def _pitch_class(letter: str, accidentals: str, *, wraps: bool = True) -> int:
    semitone = _STEPS[letter] + sum(_ACCIDENTALS[accidental] for accidental in accidentals)
    return semitone % 12 if wraps else semitone


def scale_of(name: str) -> tuple[int, PitchMask]:
    """Return the tonic's pitch class and the pitches of a scale or key, such as "F# minor".

    Raises:
        InputError: If the name is unknown.
    """
    match = _SCALE.fullmatch(name.strip())
    scale = match[3].strip().lower() if match else ""
    if match is None or scale not in SCALES:
        known = ", ".join(SCALES)
        raise InputError(f"'{name}' is no scale: write a tonic and one of {known}, as in 'A minor'")
    tonic = _pitch_class(match[1], match[2])
    return tonic, _pitches_of({(tonic + step) % 12 for step in SCALES[scale]})


def chord_of(name: str) -> PitchMask:
    """Return the pitches of a chord such as "Am7" or "C/E"; of "N", no chord, all of them.

    Raises:
        InputError: If the name is unknown.
    """
    if name.strip() == "N":
        return np.ones(128, dtype=bool)
    match = _CHORD.fullmatch(name.strip())
    if match is None or match[3] not in CHORDS:
        examples = " ".join(f"A{chord_type}" for chord_type in CHORDS)
        raise InputError(f"'{name}' is no chord: write one like {examples}, A/E, or N for none")
    root = _pitch_class(match[1], match[2])
    classes = {(root + step) % 12 for step in CHORDS[match[3]]}
    if match[4]:
        classes.add(_pitch_class(match[4], match[5]))
    return _pitches_of(classes)


def tonic_triad(tonic: int, scale: PitchMask) -> PitchMask:
    """Return the pitches of the triad on the tonic, minor if the scale has no major third."""
    third = 4 if scale[(tonic + 4) % 12] else 3
    return _pitches_of({tonic, (tonic + third) % 12, (tonic + 7) % 12})


def pitches_of_class(pitch_class: int) -> PitchMask:
    """Return the pitches of one class: 0 for every C."""
    return _pitches_of({pitch_class})


def _pitches_of(classes: set[int]) -> PitchMask:
    mask = np.zeros(128, dtype=bool)
    for pitch_class in classes:
        mask[pitch_class::12] = True
    return mask
