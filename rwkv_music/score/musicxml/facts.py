"""What music21 does not take from a MusicXML file as it stands there.

It hangs a pedal on the notes written next to its mark, where the file says a moment; takes a drum's
place on the staff for its sound, where the file names the sound; knows one program for each class
of instruments of its own; calls a part without a name after its instrument; and stretches a measure
of rest to what its time signature says, where a pickup or a cut measure is shorter.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import NamedTuple
from xml.etree import ElementTree as ET

from rwkv_music.score.musicxml.note_writer import add_pitch, spell

_SWITCHES = {
    "start": (True,), "resume": (True,), "change": (False, True),
    "stop": (False,), "discontinue": (False,),
}  # fmt: skip


class PedalSwitch(NamedTuple):
    """The sustain pedal goes down or up."""

    measure: int
    """Counted from 0 in its part."""
    quarters: Fraction
    """From the beginning of the measure."""
    is_down: bool


class PartFacts(NamedTuple):
    """What a file says of a part."""

    name: str
    program: int | None
    """The first one named, counted from 0."""
    pedals: tuple[PedalSwitch, ...]
    """In the order of the file."""


class Facts(NamedTuple):
    """What a file says of its parts and measures."""

    parts: Mapping[str, PartFacts]
    """By id."""
    lengths: tuple[Fraction, ...]
    """Of the measures, in quarters: of the longest part each; none if parts differ in number."""


def prepared(text: str) -> tuple[str, Facts]:
    """The file as music21 shall read it, drums at the pitches that sound, and what else it says.

    Args:
        text: MusicXML; of a file that is not partwise there are no facts.

    Raises:
        xml.etree.ElementTree.ParseError: If it is no XML.
    """
    root = ET.fromstring(text)  # noqa: S314 - it comes out of no file longer than 32 MiB
    entries = {entry.get("id", ""): entry for entry in root.iter("score-part")}
    walks = {part.get("id", ""): _walk(part) for part in root.iterfind("part")}
    parts = {
        each: PartFacts(_name(entries[each]), _program(entries[each]), walk.pedals)
        for each, walk in walks.items()
        if each in entries
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
    number = entry.findtext("midi-instrument/midi-program", "").strip()
    return int(number) - 1 if number.isdecimal() and 1 <= int(number) <= 128 else None


def _drums(root: ET.Element) -> dict[str, int]:
    """The MIDI pitch of each instrument that has one instead of pitches."""
    found = {}
    for played in root.iter("midi-instrument"):
        number = played.findtext("midi-unpitched", "").strip()
        if number.isdecimal() and 1 <= int(number) <= 128:
            found[played.get("id", "")] = int(number) - 1
    return found


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
    """What is met on the way through a part."""

    lengths: tuple[Fraction, ...]
    pedals: tuple[PedalSwitch, ...]


def _walk(part: ET.Element) -> _Walk:
    divisions = Fraction(1)
    lengths: list[Fraction] = []
    pedals: list[PedalSwitch] = []
    for number, measure in enumerate(part.iterfind("measure")):
        now = end = Fraction(0)
        for each in measure:
            quarters = _number(each, "duration") / divisions
            if each.tag == "attributes":
                divisions = _number(each, "divisions") or divisions
            elif each.tag == "backup":
                now -= quarters
            elif each.tag == "forward" or (each.tag == "note" and _takes_time(each)):
                now += quarters
                end = max(end, now)
            elif each.tag == "direction":
                moment = now + _number(each, "offset") / divisions
                pedals.extend(_switches(each, number, moment))
        lengths.append(end)
    return _Walk(tuple(lengths), tuple(pedals))


def _takes_time(note: ET.Element) -> bool:
    return note.find("chord") is None and note.find("grace") is None


def _switches(direction: ET.Element, measure: int, quarters: Fraction) -> Iterator[PedalSwitch]:
    for pedal in direction.iter("pedal"):
        for is_down in _SWITCHES.get(pedal.get("type", ""), ()):
            yield PedalSwitch(measure, quarters, is_down)


def _number(element: ET.Element, tag: str) -> Fraction:
    return Fraction((element.findtext(tag) or "0").strip())
