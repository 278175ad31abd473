"""Write one note as MusicXML: note value, pitch spelling and accidental."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import NamedTuple
from xml.etree import ElementTree as ET

from rwkv_music.score.notation.quantization import TICKS_PER_QUARTER

_KINDS = {4 * TICKS_PER_QUARTER >> power: kind for power, kind in enumerate(
    ("whole", "half", "quarter", "eighth", "16th", "32nd"))}  # fmt: skip
_BREVE = 8 * TICKS_PER_QUARTER
_COSTS = {1: 3.0, 2: 2.5}
"""Costs of triplets of 64ths and 32nds, which are hard to read; any other value costs 1."""
_FIFTHS = "FCGDAEB"
_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {-2: "flat-flat", -1: "flat", 0: "natural", 1: "sharp", 2: "double-sharp"}
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Value(NamedTuple):
    """A note value."""

    ticks: int
    kind: str
    """MusicXML's name of it, such as "quarter"."""
    dots: int = 0
    is_triplet: bool = False


def _all_values() -> dict[int, Value]:
    values = {_BREVE: Value(_BREVE, "breve")}
    for ticks, note_type in _KINDS.items():
        values[ticks] = Value(ticks, note_type)
        if ticks % 2 == 0:
            values[ticks * 3 // 2] = Value(ticks * 3 // 2, note_type, dots=1)
        if ticks % 3 == 0:
            values[ticks * 2 // 3] = Value(ticks * 2 // 3, note_type, is_triplet=True)
    values[1] = Value(1, "64th", is_triplet=True)
    return values


_VALUES = _all_values()


def note_values(onset: int, ticks: int) -> Iterator[Value]:
    """Yield the tied note values that make up a duration.

    Args:
        onset: In ticks from a beat; longer chains are split at beats.
        ticks: 24 to the quarter.
    """
    if ticks in _VALUES:
        yield _VALUES[ticks]
        return
    to_beat = -onset % TICKS_PER_QUARTER
    if 0 < to_beat < ticks:
        yield from note_values(onset, to_beat)
        yield from note_values(0, ticks - to_beat)
        return
    while ticks > TICKS_PER_QUARTER:
        longest = max(n for n in _VALUES if n <= ticks and n % TICKS_PER_QUARTER == 0)
        yield _VALUES[longest]
        ticks -= longest
    for value in _fewest(ticks):
        yield _VALUES[value]


@cache
def _fewest(ticks: int) -> tuple[int, ...]:
    """The most readable note values that make up a beat or less, in descending order."""
    if not ticks:
        return ()
    ways = [(value, *_fewest(ticks - value)) for value in _VALUES if value <= ticks]
    easiest = min(ways, key=lambda way: sum(_COSTS.get(value, 1.0) for value in way))
    return tuple(sorted(easiest, reverse=True))


class Spelled(NamedTuple):
    """A pitch as written."""

    letter: str
    alter: int
    octave: int
    accidental: str | None
    """Accidental to print; None if the key or an earlier note implies it."""


class Spelling:
    """Spells pitches by the current key and adds the accidentals that a reader needs.

    Args:
        keys: Sharps of each key by the tick at which it begins; the first at 0.
    """

    def __init__(self, keys: Mapping[int, int]) -> None:
        self._keys = sorted(keys.items())

    def measure(self, notes: Iterable[tuple[int, int, bool]]) -> list[Spelled]:
        """Spell the notes of a measure.

        Args:
            notes: Tick, pitch, and whether it is tied from the note before; by tick.
        """
        printed: dict[tuple[str, int], int] = {}
        sharps = None
        spelled = []
        for tick, pitch, is_tied in notes:
            now = self._sharps_at(tick)
            if now != sharps:
                printed.clear()
                sharps = now
            letter, alter, octave = spell(pitch, now)
            known = printed.get((letter, octave), _by_key(letter, now))
            is_printed = alter != known and not is_tied
            if is_printed:
                printed[letter, octave] = alter
            accidental = _ACCIDENTALS[alter] if is_printed else None
            spelled.append(Spelled(letter, alter, octave, accidental))
        return spelled

    def _sharps_at(self, tick: int) -> int:
        return next((sharps for since, sharps in reversed(self._keys) if since <= tick), 0)


def spell(pitch: int, sharps: int) -> tuple[str, int, int]:
    """Return letter, alteration and octave of a pitch in a key.

    The twelve names are adjacent on the circle of fifths; in C they are E flat to G sharp.

    Args:
        pitch: MIDI number.
        sharps: Of the key; flats are negative.

    Example:
        >>> spell(61, 2), spell(61, -4)
        (('C', 1, 4), ('D', -1, 4))
    """
    # Of F, C, G, ... the pitch class is 5, 0, 7, ...: seven more for each step.
    fifths = (7 * (pitch - 5) - (sharps - 2)) % 12 + sharps - 2
    alter, letter = divmod(fifths, 7)
    name = _FIFTHS[letter]
    return name, alter, (pitch - alter - _SEMITONES[name]) // 12 - 1


def add_pitch(pitch: ET.Element, letter: str, alter: int, octave: int) -> None:
    """Add step, alteration and octave to a pitch element."""
    ET.SubElement(pitch, "step").text = letter
    if alter:
        ET.SubElement(pitch, "alter").text = str(alter)
    ET.SubElement(pitch, "octave").text = str(octave)


def _by_key(letter: str, sharps: int) -> int:
    """Return the alteration of a letter in a key."""
    return (sharps - _FIFTHS.index(letter) + 6) // 7


def add_value(note: ET.Element, value: Value, *, accidental: str | None = None) -> None:
    """Add the note value and the accidental that follows it."""
    ET.SubElement(note, "type").text = value.kind
    for _ in range(value.dots):
        ET.SubElement(note, "dot")
    if accidental is not None:
        ET.SubElement(note, "accidental").text = accidental
    if value.is_triplet:
        changed = ET.SubElement(note, "time-modification")
        ET.SubElement(changed, "actual-notes").text = "3"
        ET.SubElement(changed, "normal-notes").text = "2"


def printable(text: str) -> str:
    """Remove the characters that XML does not allow."""
    return _UNPRINTABLE.sub("", text)
