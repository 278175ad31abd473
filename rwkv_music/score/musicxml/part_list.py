"""Part list of a MusicXML file: names, and the instruments that parts are played on."""

import re
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.etree import ElementTree as ET

from rwkv_music.score.musicxml.instrument_sounds import drum_of, program_of

_DRUM_CHANNEL = 10


class PartInstrument(NamedTuple):
    """What an instrument of a part sounds like."""

    program: int
    is_drum: bool
    """Whether it is on the drum channel; an unpitched note always is."""
    drum: int | None
    """MIDI pitch of its unpitched notes; None if the file does not say."""


@dataclass
class PartEntry:
    """A part as the part list describes it."""

    name: str = ""
    instruments: dict[str, PartInstrument] = field(default_factory=dict)
    """By id, in the order of the file; notes that name none are played on the first one."""

    @classmethod
    def unnamed(cls) -> "PartEntry":
        """Return a part that is missing in the part list."""
        return cls(instruments={"": PartInstrument(0, False, None)})

    def changed(self, element: ET.Element) -> PartInstrument:
        """Return an instrument as a `<midi-instrument>` or `<instrument-change>` changes it."""
        before = self.instruments.get(element.get("id", ""), PartInstrument(0, False, None))
        if element.tag == "midi-instrument":
            return _with_midi(before, element)
        program = program_of(element.findtext("instrument-sound", "").strip(), "")
        return before if program is None else before._replace(program=program)


def read_part_list(root: ET.Element) -> dict[str, PartEntry]:
    """Return the parts by id."""
    return {entry.get("id", ""): _read_entry(entry) for entry in root.iter("score-part")}


def _read_entry(entry: ET.Element) -> PartEntry:
    part = PartEntry(" ".join(entry.findtext("part-name", "").split()))
    for element in entry.iterfind("score-instrument"):
        sound = element.findtext("instrument-sound", "").strip()
        name = element.findtext("instrument-name", "").strip()
        drum = drum_of(sound, name)
        program = program_of(sound, name)
        if program is None:
            program = program_of("", part.name) or 0
        part.instruments[element.get("id", "")] = PartInstrument(program, False, drum)
    for element in entry.iterfind("midi-instrument"):
        part.instruments[element.get("id", "")] = part.changed(element)
    if not part.instruments:
        part.instruments[""] = PartInstrument(program_of("", part.name) or 0, False, None)
    return part


def _with_midi(instrument: PartInstrument, element: ET.Element) -> PartInstrument:
    channel = _number(element, "midi-channel", 16)
    program = _number(element, "midi-program", 128)
    drum = _number(element, "midi-unpitched", 128)
    return PartInstrument(
        instrument.program if program is None else program - 1,
        instrument.is_drum if channel is None else channel == _DRUM_CHANNEL,
        instrument.drum if drum is None else drum - 1,
    )


def _number(element: ET.Element, tag: str, most: int) -> int | None:
    text = element.findtext(tag, "").strip()
    if not re.fullmatch(r"[0-9]{1,3}", text):
        return None
    return int(text) if 1 <= int(text) <= most else None
