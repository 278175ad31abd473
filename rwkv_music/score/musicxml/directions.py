"""Readers of MusicXML directions: tempo, loudness, pedal, markers, repeats and jumps."""

import re
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from rwkv_music.score.musicxml.note_reader import velocity_of
from rwkv_music.score.notation.jump_words import jump_in_words
from rwkv_music.score.notation.playing_order import MeasureMarks

_PEDAL_VALUES = {
    "start": (127,), "resume": (127,), "change": (0, 127), "stop": (0,), "discontinue": (0,),
}  # fmt: skip
_BEAT_QUARTERS = {
    "breve": 8.0, "whole": 4.0, "half": 2.0, "quarter": 1.0, "eighth": 0.5, "16th": 0.25,
    "32nd": 0.125, "64th": 0.0625, "long": 16.0,
}  # fmt: skip
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
_MAX_QPM = 100_000.0


@dataclass(slots=True)
class DirectionEvents:
    """What a direction, sound or barline says, all at one moment."""

    played_qpm: float | None = None
    printed_qpm: float | None = None
    velocity: int | None = None
    """From here on."""
    pedals: list[int] = field(default_factory=list)
    """Values of the sustain pedal."""
    markers: list[str] = field(default_factory=list)
    marks: MeasureMarks = field(default_factory=MeasureMarks)
    instruments: list[ET.Element] = field(default_factory=list)
    """Changes of instruments: `<midi-instrument>` and `<instrument-change>`."""


def read_direction(element: ET.Element) -> DirectionEvents:
    """Read a `<direction>`; its sound replaces what is only printed."""
    events = DirectionEvents()
    printed = MeasureMarks()
    for mark in (child for direction in element.iterfind("direction-type") for child in direction):
        if mark.tag == "metronome":
            events.printed_qpm = _metronome(mark) or events.printed_qpm
        elif mark.tag == "rehearsal":
            text = (mark.text or "").strip()
            events.markers += [text] if text else []
        elif mark.tag == "pedal":
            events.pedals.extend(_PEDAL_VALUES.get(mark.get("type", ""), ()))
        elif mark.tag in {"segno", "coda"}:
            setattr(printed, mark.tag, "")
        elif mark.tag == "words":
            _read_words(mark.text or "", printed)
    sound = element.find("sound")
    if sound is not None:
        _read_sound(sound, events)
    if printed.to_coda is not None and events.marks.coda is None:
        printed.coda = None  # the sign stands with the words "to Coda"
    events.marks.merge(printed)
    return events


def read_sound(element: ET.Element) -> DirectionEvents:
    """Read a `<sound>` that stands in a measure."""
    events = DirectionEvents()
    _read_sound(element, events)
    return events


def read_barline(element: ET.Element) -> MeasureMarks:
    """Read repeats, endings and signs at a `<barline>`."""
    marks = MeasureMarks(segno=element.get("segno"), coda=element.get("coda"))
    for child in element:
        if child.tag == "repeat" and child.get("direction") == "forward":
            marks.starts_repeat = True
        elif child.tag == "repeat" and child.get("direction") == "backward":
            times = child.get("times", "2").strip()
            marks.repeat_times = int(times) if re.fullmatch(r"\d{1,6}", times) else 2
        elif child.tag == "ending" and child.get("type") == "start":
            passes = (int(digits) for digits in re.findall(r"\d{1,3}", child.get("number", "")))
            marks.ending = tuple(sorted(passes))
        elif child.tag == "ending":
            marks.stops_ending = True
        elif child.tag in {"segno", "coda"} and getattr(marks, child.tag) is None:
            setattr(marks, child.tag, "")
    return marks


def _read_sound(sound: ET.Element, events: DirectionEvents) -> None:
    tempo = sound.get("tempo")
    if tempo is not None:
        events.played_qpm = _valid_qpm(tempo)
    events.velocity = velocity_of(sound.get("dynamics"))
    damper = sound.get("damper-pedal")
    if damper is not None:
        value = _pedal_value(damper)
        # A printed change of the pedal lifts it as well.
        events.pedals = events.pedals if events.pedals[-1:] == [value] else [value]
    marks = events.marks
    marks.segno, marks.coda = sound.get("segno"), sound.get("coda")
    marks.to_coda, marks.dal_segno = sound.get("tocoda"), sound.get("dalsegno")
    marks.da_capo = sound.get("dacapo") == "yes"
    marks.fine = sound.get("fine") is not None
    marks.starts_repeat = sound.get("forward-repeat") == "yes"
    events.instruments += [
        child for child in sound if child.tag in {"midi-instrument", "instrument-change"}
    ]


def _pedal_value(text: str) -> int:
    if text in {"yes", "no"}:
        return 127 if text == "yes" else 0
    try:
        return min(max(round(float(text) * 1.27), 0), 127)
    except (ValueError, OverflowError):
        return 0


def _valid_qpm(text: str) -> float | None:
    try:
        qpm = float(text)
    except ValueError:
        return None
    return qpm if 0 < qpm <= _MAX_QPM else None


def _metronome(mark: ET.Element) -> float | None:
    """Quarters a minute of a printed mark such as "dotted quarter = ca. 66"."""
    units = [child for child in mark if child.tag == "beat-unit"]
    speed = _NUMBER.search(mark.findtext("per-minute", ""))
    if len(units) != 1 or speed is None:
        return None  # a relation of two values
    quarters = _BEAT_QUARTERS.get((units[0].text or "").strip(), 0.0)
    dots = len(mark.findall("beat-unit-dot"))
    return _valid_qpm(str(float(speed[0].replace(",", ".")) * quarters * (2 - 0.5**dots)))


def _read_words(text: str, marks: MeasureMarks) -> None:
    """Jumps that are only printed."""
    name = jump_in_words(text)
    if name is not None:
        setattr(marks, name, True if name in {"da_capo", "fine"} else "")
