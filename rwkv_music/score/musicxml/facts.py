"""Facts of a MusicXML file that music21 reads differently; used when music21 is the fallback.

music21 attaches a pedal to the notes beside its mark instead of to its time, uses the staff
position of a drum as its pitch, has one program for each of its instrument classes, names unnamed
parts after their instrument, and makes a measure rest as long as the time signature even in short
measures.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import NamedTuple
from xml.etree import ElementTree as ET

from rwkv_music.score.musicxml.attributes import read_decimal
from rwkv_music.score.musicxml.note_writer import add_pitch, spell

_SWITCHES = {
    "start": (True,), "resume": (True,), "change": (False, True),
    "stop": (False,), "discontinue": (False,),
}  # fmt: skip


class PedalSwitch(NamedTuple):
    """A change of the sustain pedal."""

    measure: int
    """Counted from 0 in its part."""
    quarters: Fraction
    """From the beginning of the measure."""
    is_down: bool


class PartFacts(NamedTuple):
    """Name, program and pedals of a part."""

    name: str
    program: int | None
    """First program of the part, counted from 0."""
    pedals: tuple[PedalSwitch, ...]
    """In the order of the file."""


class Facts(NamedTuple):
    """Parts and measure lengths of a file."""

    parts: Mapping[str, PartFacts]
    """By id."""
    lengths: tuple[Fraction, ...]
    """Measure lengths in quarters, those of the longest part; empty if parts have different numbers
    of measures."""


def prepared(text: str) -> tuple[str, Facts]:
    """Return the document with drums at their sounding pitches, and its facts.

    Args:
        text: MusicXML; the facts are empty if it is not partwise.

    Raises:
        xml.etree.ElementTree.ParseError: If it is not well-formed XML.
    """
    root = ET.fromstring(text)  # noqa: S314 - entities are refused before
    entries = {entry.get("id", ""): entry for entry in root.iter("score-part")}
    walks = {part.get("id", ""): _walk(part) for part in root.iterfind("part")}
    parts = {
        part: PartFacts(_name(entries[part]), _program(entries[part]), walk.pedals)
        for part, walk in walks.items()
        if part in entries
    }
    columns = [walk.lengths for walk in walks.values()]
    is_even = len({len(column) for column in columns}) == 1
    lengths = tuple(map(max, zip(*columns, strict=True))) if is_even else ()
    drums = _drums(root)
    if drums:
        for note in root.iter("note"):
            _put_at_its_pitch(note, drums)
        text = ET.tostring(root, encoding="unicode")
    return text, Facts(parts, lengths)


def _name(entry: ET.Element) -> str:
    return " ".join(entry.findtext("part-name", "").split())


def _program(entry: ET.Element) -> int | None:
    program_text = entry.findtext("midi-instrument/midi-program", "").strip()
    return (
        int(program_text) - 1
        if program_text.isdecimal() and 1 <= int(program_text) <= 128
        else None
    )


def _drums(root: ET.Element) -> dict[str, int]:
    """MIDI pitch of each unpitched instrument, by id."""
    pitches = {}
    for played in root.iter("midi-instrument"):
        key_text = played.findtext("midi-unpitched", "").strip()
        if key_text.isdecimal() and 1 <= int(key_text) <= 128:
            pitches[played.get("id", "")] = int(key_text) - 1
    return pitches


def _put_at_its_pitch(note: ET.Element, drums: Mapping[str, int]) -> None:
    unpitched, instrument = note.find("unpitched"), note.find("instrument")
    if unpitched is None or instrument is None:
        return
    sound = drums.get(instrument.get("id", ""))
    if sound is not None:
        unpitched.clear()
        unpitched.tag = "pitch"
        add_pitch(unpitched, *spell(sound, sharps=0))


class _Walk(NamedTuple):
    """Measure lengths and pedals of a part."""

    lengths: tuple[Fraction, ...]
    pedals: tuple[PedalSwitch, ...]


def _walk(part: ET.Element) -> _Walk:
    divisions = Fraction(1)
    lengths: list[Fraction] = []
    pedals: list[PedalSwitch] = []
    for bar, measure in enumerate(part.iterfind("measure")):
        now = end = Fraction(0)
        for element in measure:
            quarters = _number(element, "duration") / divisions
            if element.tag == "attributes":
                divisions = _number(element, "divisions") or divisions
            elif element.tag == "backup":
                now -= quarters
            elif element.tag == "forward" or (element.tag == "note" and _takes_time(element)):
                now += quarters
                end = max(end, now)
            elif element.tag == "direction":
                moment = now + _number(element, "offset") / divisions
                pedals.extend(_switches(element, bar, moment))
        lengths.append(end)
    return _Walk(tuple(lengths), tuple(pedals))


def _takes_time(note: ET.Element) -> bool:
    return note.find("chord") is None and note.find("grace") is None


def _switches(direction: ET.Element, measure: int, quarters: Fraction) -> Iterator[PedalSwitch]:
    for pedal in direction.iter("pedal"):
        for is_down in _SWITCHES.get(pedal.get("type", ""), ()):
            yield PedalSwitch(measure, quarters, is_down)


def _number(element: ET.Element, tag: str) -> Fraction:
    return read_decimal(element.findtext(tag) or "0")
