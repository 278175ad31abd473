"""Reader of MusicXML 1 to 4, partwise and timewise.

What sounds is decided as the format says: a `<sound>` counts more than what is printed, cue notes
are silent, pitches are transposed, ties join notes across voices and staves, and a measure with a
repeat sign sounds as the measure before. Grace notes are left out: they take their time from
another note, and few files say how much.
"""

import math
import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.score.musicxml.attributes import read_decimal
from rwkv_music.score.musicxml.part_list import PartEntry, read_part_list
from rwkv_music.score.musicxml.part_reader import PartReader
from rwkv_music.score.musicxml.xml_repair import repaired_xml
from rwkv_music.score.notation.assembly import assemble_score
from rwkv_music.score.notation.playing_order import has_repeats, playing_order
from rwkv_music.score.notation.written import WrittenMeasure, WrittenPiece

_MAX_UNITS = 1 << 40
_FALLBACK_UNITS = 10_080
_NAMESPACE = re.compile(r"""\sxmlns\s*=\s*(?:"[^"]*"|'[^']*')""")


def read_musicxml(text: str, *, unfold_repeats: bool) -> LoadedScore:
    """Read a MusicXML document.

    Args:
        text: The document, without entities.
        unfold_repeats: Whether to play repeats, endings and jumps.

    Raises:
        InputError: If it holds no notes, or is too long.
        xml.etree.ElementTree.ParseError: If it is not well-formed XML.
        ValueError: If it is not MusicXML.
    """
    root, repairs = _parse(text)
    piece, num_out_of_range = _read_piece(root)
    marks = [measure.marks for measure in piece.measures]
    repeats = has_repeats(marks)
    order = playing_order(marks) if repeats and unfold_repeats else range(len(marks))
    if num_out_of_range:
        repairs.append(f"{num_out_of_range} notes outside of MIDI's range left out")
    return LoadedScore(
        assemble_score(piece, order),
        tuple(repairs),
        reader="rwkv-music",
        has_repeats=repeats and not unfold_repeats,
    )


def _parse(text: str) -> tuple[ET.Element, list[str]]:
    """The root element, and what was repaired to get it."""
    text, repairs = repaired_xml(text)
    head = _NAMESPACE.sub("", text[:4096])
    root = ET.fromstring(head + text[4096:])  # noqa: S314 - entities are refused before
    if root.tag not in {"score-partwise", "score-timewise"}:
        raise ValueError(f"the document is <{root.tag}>, not <score-partwise>")
    return root, repairs


def _read_piece(root: ET.Element) -> tuple[WrittenPiece, int]:
    """The piece, and the number of notes that MIDI cannot hold."""
    entries = read_part_list(root)
    piece = WrittenPiece(_units_per_quarter(root))
    readers: dict[str | int, PartReader] = {}
    bar_lengths: dict[int, int] = {}
    for key, index, element in _measures(root):
        if key not in readers:
            entry = entries.get(element.get("part", "")) or PartEntry.unnamed()
            readers[key] = PartReader(entry, piece.units_per_quarter)
        reader = readers[key]
        if index == len(piece.measures):
            piece.measures.append(WrittenMeasure())
        reader.skip_to(index)
        reader.read_measure(element, piece.measures[index])
        bar_lengths.setdefault(index, reader.bar_length)
        element.clear()
    for index, measure in enumerate(piece.measures):
        measure.length = measure.length or bar_lengths[index]
    _add_signatures(list(readers.values()))
    piece.parts = [reader.finished_part() for reader in readers.values()]
    return piece, sum(reader.num_out_of_range for reader in readers.values())


def _add_signatures(readers: Sequence[PartReader]) -> None:
    """Take time signatures and keys from the first part that has some; keys not from drums."""
    for measure, time in next((reader.times for reader in readers if reader.times), ()):
        measure.times.append(time)
    pitched = [reader for reader in readers if not reader.has_only_drums]
    keys = (reader.keys for reader in (*pitched, *readers) if reader.keys)
    for measure, key in next(keys, ()):
        measure.keys.append(key)


def _measures(root: ET.Element) -> Iterator[tuple[str | int, int, ET.Element]]:
    """Part, index of the measure, and what the part has in it, with the id of the part."""
    if root.tag == "score-partwise":
        for part_index, part in enumerate(root.iterfind("part")):
            for index, measure in enumerate(part.iterfind("measure")):
                measure.set("part", part.get("id", ""))
                yield part_index, index, measure
    else:
        for index, measure in enumerate(root.iterfind("measure")):
            for part in measure.iterfind("part"):
                part.set("implicit", measure.get("implicit", "no"))
                part.set("part", part.get("id", ""))
                yield part.get("id", ""), index, part


def _units_per_quarter(root: ET.Element) -> int:
    """A number of units that holds every duration exactly, if there is a reasonable one."""
    divisions = {read_decimal(text) for text in _texts(root, "divisions")}
    units = math.lcm(*(number.numerator for number in divisions if number > 0), 1)
    fractions = {
        read_decimal(text).denominator
        for tag in ("duration", "offset")
        for text in _texts(root, tag)
        if "." in text
    }
    units *= math.lcm(*fractions, 1)
    return units if units <= _MAX_UNITS else _FALLBACK_UNITS


def _texts(root: ET.Element, tag: str) -> set[str]:
    return {(element.text or "").strip() for element in root.iter(tag)} - {""}
