"""Tokens of **kern: rhythm, pitches, ties."""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

_RHYTHM = re.compile(r"(\d+)(?:%(\d+))?")
_PITCH = re.compile(r"([A-Ga-g])\1*")
_SEMITONES = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_MAX_DOTS = 8
UNPITCHED = 1000
"""Pitch of a note of percussion that has none (R)."""


class KernNote(NamedTuple):
    """One note of a token."""

    pitch: int
    """MIDI number, which may lie outside of MIDI's range; or `UNPITCHED`."""
    quarters: Fraction
    continues: bool
    is_continued: bool
    has_long_tie: bool
    """Whether its ties may skip measures: doubled signs join notes that are further apart."""


class KernToken(NamedTuple):
    """What stands in one column of a data line."""

    quarters: Fraction
    """Time until the next token of the column; 0 for grace notes."""
    notes: tuple[KernNote, ...]
    """Empty for a rest."""


@lru_cache(maxsize=1 << 15)
def read_token(text: str) -> KernToken | None:
    """Read a token; None if it has no duration, such as a null token or a grace note.

    Args:
        text: Notes of a chord are separated by spaces; a note without a rhythm has that of the
            note before.

    Example:
        >>> read_token("4.c#").notes[0].pitch
        61
    """
    if text == "." or "q" in text or "Q" in text:
        return None
    notes = []
    first: Fraction | None = None
    quarters: Fraction | None = None
    for part in text.split(" "):
        quarters = _quarters(part, quarters)
        if quarters is None:
            continue
        first = quarters if first is None else first
        pitch = _PITCH.search(part)
        if "r" in part or (pitch is None and "R" not in part):
            continue
        is_middle = "_" in part
        notes.append(
            KernNote(
                UNPITCHED if pitch is None else _midi_pitch(pitch, part),
                quarters,
                continues=is_middle or "]" in part,
                is_continued=is_middle or "[" in part,
                has_long_tie=any(sign in part for sign in ("[[", "]]", "__")),
            )
        )
    return None if first is None else KernToken(first, tuple(notes))


def _quarters(text: str, before: Fraction | None) -> Fraction | None:
    rhythm = _RHYTHM.search(text)
    if rhythm is None:
        return before
    digits, divisor = rhythm.groups()
    num_dots = min(text.count("."), _MAX_DOTS)  # other signs may stand before a dot
    if not digits.strip("0"):
        whole_notes = Fraction(2 ** len(digits[:8]))  # a breve is 0, a long 00
    else:
        whole_notes = Fraction(int(divisor or 1), int(digits))
    return 4 * whole_notes * (2 - Fraction(1, 2**num_dots))


def _midi_pitch(pitch: re.Match[str], text: str) -> int:
    letters = pitch[0]
    octave = 3 + len(letters) if letters.islower() else 4 - len(letters)
    # Other signs may stand between a letter and its accidental, as in "2.b]-".
    alter = text.count("#") - text.count("-")
    return 12 * (octave + 1) + _SEMITONES[letters[0].lower()] + alter
