"""MusicXML read a second time, by its own rules and without music21: the reference of a test."""

import zipfile
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


class Sounding(NamedTuple):
    """Onset and duration in quarters, and pitch."""

    onset: Fraction
    duration: Fraction
    pitch: int


def sounding_notes(path: Path) -> list[Sounding]:
    """What the notes of compressed MusicXML sound, ties joined; grace notes left out."""
    with zipfile.ZipFile(path) as archive:
        name = next(
            file_name for file_name in archive.namelist() if not file_name.startswith("META-INF")
        )
        return sounding_in(archive.read(name))


def sounding_in(text: bytes) -> list[Sounding]:
    """The same of MusicXML as it is."""
    root = ET.fromstring(text)  # noqa: S314 - made here, or a file of our own data set
    return sorted(note for part in root.iter("part") for note in _joined(_written(part)))


class _Written(NamedTuple):
    onset: Fraction
    pitch: int
    duration: Fraction
    ties: frozenset[str | None]
    voice: str


def _written(part: ET.Element) -> list[_Written]:
    actual: list[_Written] = []
    divisions, transposition, bar = 1, 0, Fraction(0)
    for measure in part.iter("measure"):
        now = end = before = bar
        for element in measure:
            duration = Fraction(element.findtext("duration", "0")) / divisions
            if element.tag == "attributes":
                divisions = int(element.findtext("divisions", str(divisions)))
                transpose = element.find("transpose")
                if transpose is not None:
                    chromatic = int(transpose.findtext("chromatic", "0"))
                    transposition = chromatic + 12 * int(transpose.findtext("octave-change", "0"))
            elif element.tag in {"backup", "forward"}:
                now += duration if element.tag == "forward" else -duration
            elif element.tag == "note" and element.find("grace") is None:
                onset = before if element.find("chord") is not None else now
                before, now = onset, onset + duration
                pitch = element.find("pitch")
                if pitch is not None:
                    sounds = _pitch(pitch) + transposition
                    ties = frozenset(tie.get("type") for tie in element.iter("tie"))
                    voice = element.findtext("voice", "")
                    actual.append(_Written(onset, sounds, duration, ties, voice))
            end = max(end, now)
        bar = end
    return sorted(actual, key=lambda note: note[:3])


def _pitch(pitch: ET.Element) -> int:
    octave = int(pitch.findtext("octave", ""))
    return (
        12 * (octave + 1) + _STEPS[pitch.findtext("step", "")] + int(pitch.findtext("alter", "0"))
    )


def _joined(written: list[_Written]) -> list[Sounding]:
    """Join each note with the notes tied to it, first in its voice, also across a gap."""
    remaining = list(written)
    sounding = []
    while remaining:
        note = remaining.pop(0)
        end, is_tied = note.onset + note.duration, "start" in note.ties
        while is_tied:
            tied = [
                later
                for later in remaining
                if later.onset >= end and later.pitch == note.pitch and "stop" in later.ties
            ]
            if not tied:
                break
            following = min(tied, key=lambda later: (later.onset, later.voice != note.voice))
            remaining.remove(following)
            end, is_tied = following.onset + following.duration, "start" in following.ties
        sounding.append(Sounding(note.onset, end - note.onset, note.pitch))
    return sounding
