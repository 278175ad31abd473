"""Reader of a MusicXML `<note>` element."""

import re
from dataclasses import dataclass, field
from fractions import Fraction
from xml.etree import ElementTree as ET

_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_QUARTERS = {
    "1024th": Fraction(1, 256), "512th": Fraction(1, 128), "256th": Fraction(1, 64),
    "128th": Fraction(1, 32), "64th": Fraction(1, 16), "32nd": Fraction(1, 8),
    "16th": Fraction(1, 4), "eighth": Fraction(1, 2), "quarter": Fraction(1), "half": Fraction(2),
    "whole": Fraction(4), "breve": Fraction(8), "long": Fraction(16), "maxima": Fraction(32),
}  # fmt: skip
_ACCIDENTALS = {
    "sharp": 1, "flat": -1, "natural": 0, "double-sharp": 2, "sharp-sharp": 2, "flat-flat": -2,
    "natural-sharp": 1, "natural-flat": -1, "triple-sharp": 3, "triple-flat": -3,
}  # fmt: skip
_TIED = {"start": {"start"}, "stop": {"stop"}, "continue": {"stop", "start"}}
_FORTE = 90
"""MusicXML gives loudness in percent of this velocity."""


@dataclass(slots=True)
class NoteElement:
    """What a `<note>` says."""

    duration: str | None = None
    """In divisions; None if there is none."""
    pitch: int | None = None
    """MIDI number of the written pitch, or of the place on the staff of an unpitched note."""
    has_alter: bool = False
    """Whether the pitch includes an alteration."""
    accidental: int | None = None
    """Semitones of the printed accidental."""
    is_unpitched: bool = False
    is_rest: bool = False
    is_measure_rest: bool = False
    is_chord: bool = False
    """Whether it begins with the note before."""
    is_grace: bool = False
    is_cue: bool = False
    staff: str = ""
    voice: str = ""
    instrument: str | None = None
    velocity: int | None = None
    attack: str | None = None
    release: str | None = None
    """Divisions by which its sound begins and ends later than written."""
    ties: set[str] = field(default_factory=set)
    """"start" and "stop"."""
    lyrics: list[str] = field(default_factory=list)

    @property
    def is_sounding(self) -> bool:
        """Whether it is played; grace notes have no time of their own, cue notes are silent."""
        return self.pitch is not None and not (self.is_rest or self.is_cue or self.is_grace)


def read_note(element: ET.Element) -> NoteElement:  # noqa: C901, PLR0912 - one branch a tag
    """Read a note, chord member or rest.

    Raises:
        ValueError: If a number cannot be read.
    """
    note = NoteElement()
    tied: set[str] = set()
    for child in element:
        tag = child.tag
        if tag == "pitch":
            note.pitch = _pitch(child, "step", "octave")
            note.has_alter = child.find("alter") is not None
        elif tag == "duration":
            note.duration = child.text
        elif tag == "chord":
            note.is_chord = True
        elif tag == "voice":
            note.voice = (child.text or "").strip()
        elif tag == "staff":
            note.staff = (child.text or "").strip()
        elif tag == "rest":
            note.is_rest = True
            note.is_measure_rest = child.get("measure") == "yes"
        elif tag == "tie":
            note.ties.add(child.get("type", ""))
        elif tag == "notations":
            for mark in child.iterfind("tied"):
                tied |= _TIED.get(mark.get("type", ""), set())
        elif tag == "grace":
            note.is_grace = True
        elif tag == "cue":
            note.is_cue = True
        elif tag == "unpitched":
            note.is_unpitched = True
            note.pitch = _pitch(child, "display-step", "display-octave")
        elif tag == "accidental":
            note.accidental = _ACCIDENTALS.get((child.text or "").strip())
        elif tag == "instrument":
            note.instrument = child.get("id")
        elif tag == "lyric":
            note.lyrics.append(_lyric_text(child))
    # Some programs write only the printed tie.
    note.ties = note.ties or tied
    note.velocity = velocity_of(element.get("dynamics"))
    note.attack, note.release = element.get("attack"), element.get("release")
    return note


def written_length(element: ET.Element) -> Fraction:
    """Return the quarters that the printed value of a note lasts; 0 if it has none."""
    quarters = _QUARTERS.get(element.findtext("type", "").strip())
    if quarters is None:
        return Fraction(0)
    dots = min(len(element.findall("dot")), 8)
    ratio = Fraction(1)
    if (changed := element.find("time-modification")) is not None:
        normal, actual = (changed.findtext(tag, "1") for tag in ("normal-notes", "actual-notes"))
        ratio = Fraction(int(normal), max(1, int(actual)))
    return quarters * (2 - Fraction(1, 2**dots)) * ratio


def velocity_of(percent: str | None) -> int | None:
    """Return the velocity of a loudness in percent; None if it is not given.

    A loudness of 0 becomes velocity 1: a note of velocity 0 would end a note in MIDI.
    """
    if percent is None:
        return None
    try:
        velocity = round(float(percent) * _FORTE / 100)
    except (ValueError, OverflowError):
        return None
    return min(max(velocity, 1), 127)


def _pitch(element: ET.Element, step: str, octave: str) -> int:
    """MIDI number; an unpitched note without a place on the staff stands on its middle line."""
    letter = element.findtext(step, "B").strip()
    alter = element.findtext("alter", "0").strip()
    octave_number = int(element.findtext(octave, "4"))
    return 12 * (octave_number + 1) + _SEMITONES[letter] + (round(float(alter)) if alter else 0)


def _lyric_text(lyric: ET.Element) -> str:
    """Text of a syllable; several syllables on one note are joined as the elision says."""
    words = [(child.text or "") if child.tag == "text" else (child.text or " ")
             for child in lyric if child.tag in {"text", "elision"}]  # fmt: skip
    return re.sub(r"\s+", " ", "".join(words)).strip()
