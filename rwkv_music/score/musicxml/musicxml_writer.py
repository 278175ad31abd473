"""Scores as MusicXML 4.0.

Times are rounded to 32nds and triplet 16ths. Each track becomes a part of one staff; overlapping
notes are written in several voices, and notes across bar lines are split and tied. The document
contains notes with velocities, programs, drums, names, tempos, time signatures, key changes, the
sustain pedal as down or up, markers as rehearsal marks, and lyrics under the chords with which they
begin. Beams, stems and tuplet brackets are left to the program that displays the music.

music21 is not used: it takes half a minute for a piano piece of 2,000 notes.
"""

import io
import zipfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree as ET

from rwkv_music.errors import InputError
from rwkv_music.score.instruments import pedal_spans, program_name
from rwkv_music.score.musicxml.note_writer import (
    Spelled,
    Spelling,
    Value,
    add_pitch,
    add_value,
    note_values,
    printable,
)
from rwkv_music.score.notation.quantization import TICKS_PER_QUARTER, quantize_for_notation
from rwkv_music.score.notation.voices import ChordSlice, cut, voices, with_rests
from rwkv_music.score.timing import bar_starts, signatures, tempo_text

if TYPE_CHECKING:
    import symusic

MAX_MEASURES = 100_000
CONTAINER_NAME = "META-INF/container.xml"

_DOCTYPE = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" '
    '"http://www.musicxml.org/dtds/partwise.dtd">\n'
)
_CONTAINER = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<container><rootfiles>'
    '<rootfile full-path="score.musicxml"/></rootfiles></container>\n'
)
_DRUM_CHANNEL = 10
_FULL_VELOCITY = 90
"""MusicXML gives loudness in percent of this velocity."""
_MIDDLE_C = 60


def to_musicxml(score: "symusic.Score", *, title: str) -> bytes:
    """Return a score as a MusicXML document.

    Args:
        score: In ticks.
        title: Its name.

    Raises:
        InputError: If it has more than 100,000 measures, counted in all parts.
    """
    score = quantize_for_notation(score)
    tracks = [track for track in score.tracks if len(track.notes)] or list(score.tracks)[:1]
    num_measures = (len(bar_starts(score)) - 1) * len(tracks)
    if num_measures > MAX_MEASURES:
        raise InputError(
            f"has {num_measures} measures in all parts, at most {MAX_MEASURES} can be written as "
            "MusicXML: cut it, or save it as MIDI"
        )
    page = _Page(score)
    root = ET.Element("score-partwise", version="4.0")
    _child(_child(root, "work"), "work-title", title)
    part_list = _child(root, "part-list")
    for part_number, track in enumerate(tracks, start=1):
        _describe(_child(part_list, "score-part", id=f"P{part_number}"), track, part_number)
    for part_number, track in enumerate(tracks, start=1):
        part = _child(root, "part", id=f"P{part_number}")
        page.fill(part, track, is_first=part_number == 1)
    ET.indent(root, " ")
    body: bytes = ET.tostring(root, encoding="utf-8")
    return _DOCTYPE.encode() + body + b"\n"


def zipped(text: bytes) -> bytes:
    """Compress a MusicXML document."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(CONTAINER_NAME, _CONTAINER)
        archive.writestr("score.musicxml", text)
    return packed.getvalue()


def _child(parent: ET.Element, tag: str, text: object = None, **attributes: object) -> ET.Element:
    child = ET.SubElement(parent, tag, {name: str(value) for name, value in attributes.items()})
    if text is not None:
        child.text = printable(str(text))
    return child


def _describe(entry: ET.Element, track: "symusic.Track", part_number: int) -> None:
    """Write the name and the instrument of a part."""
    _child(entry, "part-name", track.name)
    instrument = f"P{part_number}-I1"
    named = _child(entry, "score-instrument", id=instrument)
    _child(named, "instrument-name", program_name(track.program, is_drum=track.is_drum))
    played = _child(entry, "midi-instrument", id=instrument)
    # Fifteen channels remain for pitched parts; with more parts some share a channel.
    channel = 1 + (part_number - 1) % 15
    pitched = channel + (channel >= _DRUM_CHANNEL)
    _child(played, "midi-channel", _DRUM_CHANNEL if track.is_drum else pitched)
    _child(played, "midi-program", track.program + 1)


class _Sign(NamedTuple):
    """A written note, chord or rest."""

    onset: int
    value: Value | None
    """None for a rest of a whole bar."""
    ticks: int
    voice: int
    piece: ChordSlice

    @property
    def is_tied_from(self) -> bool:
        return self.onset > self.piece.chord.onset

    @property
    def is_tied_on(self) -> bool:
        return self.onset + self.ticks < self.piece.chord.end


class _Page:
    """Bars, signatures, keys, tempos and markers: what all parts of a score share."""

    def __init__(self, score: "symusic.Score") -> None:
        self._bars = [int(tick) for tick in bar_starts(score)]
        self._signs = {sign.tick: sign for sign in signatures(score)}
        self._keys: dict[int, tuple[int, bool]] = {}
        for key in sorted(score.key_signatures, key=lambda key: key.time):
            if -7 <= key.key <= 7:
                self._keys[key.time] = (key.key, bool(key.tonality))
        tempos = {0: 500_000}
        for tempo in sorted(score.tempos, key=lambda tempo: tempo.time):
            tempos[tempo.time] = max(1, tempo.mspq)
        self._directions = [(tick, _tempo(tempo_text(micro))) for tick, micro in tempos.items()]
        self._directions += [
            (marker.time, _direction("rehearsal", marker.text)) for marker in score.markers
        ]

    def fill(self, part: ET.Element, track: "symusic.Track", *, is_first: bool) -> None:
        """Write the measures of a part; the first part contains tempos and markers."""
        end = self._bars[-1]
        lines = voices(track) or [[]]
        cells = [cut(list(with_rests(line, end)), self._bars) for line in lines]
        lyrics: dict[int, list[str]] = {}
        for lyric in track.lyrics:
            lyrics.setdefault(lyric.time, []).append(lyric.text)
        placed = [*(self._directions if is_first else ()), *_pedals(track, end), *self._changes()]
        placed.sort(key=lambda entry: entry[0])
        spelling = Spelling({tick: sharps for tick, (sharps, _) in self._keys.items()})
        length = 0
        for index, (start, stop) in enumerate(pairwise(self._bars)):
            measure = _child(part, "measure", number=index + 1)
            if start in self._signs:
                length = self._signs[start].bar_ticks(TICKS_PER_QUARTER)
            if stop - start != length:
                measure.set("implicit", "yes")  # a pickup, or cut by a signature
            self._begin(measure, track, start)
            _mark(measure, placed, start, end if stop == end else stop - 1)
            signs = [
                sign
                for voice, cell in enumerate(cells, start=1)
                for sign in _signs_of(cell[index], voice, start, stop)
            ]
            _write_voices(measure, signs, start, spelling, lyrics)

    def _changes(self) -> list[tuple[int, ET.Element]]:
        """Key changes inside bars."""
        lines = set(self._bars)
        changes = []
        for tick, key in self._keys.items():
            if tick not in lines:
                attributes = ET.Element("attributes")
                _add_key(attributes, key)
                changes.append((tick, attributes))
        return changes

    def _begin(self, measure: ET.Element, track: "symusic.Track", start: int) -> None:
        """Write signatures, keys and the clef that change at a bar line."""
        attributes = ET.Element("attributes")
        if start == 0:
            _child(attributes, "divisions", TICKS_PER_QUARTER)
        if start in self._keys:
            _add_key(attributes, self._keys[start])
        if sign := self._signs.get(start):
            time = _child(attributes, "time")
            _child(time, "beats", sign.numerator)
            _child(time, "beat-type", sign.denominator)
        if start == 0:
            clef = _child(attributes, "clef")
            for tag, text in zip(("sign", "line"), _clef(track), strict=False):
                _child(clef, tag, text)
        if len(attributes):
            measure.append(attributes)


def _add_key(attributes: ET.Element, key: tuple[int, bool]) -> None:
    sharps, is_minor = key
    entry = _child(attributes, "key")
    _child(entry, "fifths", sharps)
    _child(entry, "mode", "minor" if is_minor else "major")


def _clef(track: "symusic.Track") -> tuple[str, ...]:
    if track.is_drum:
        return ("percussion",)
    pitches = track.notes.numpy()["pitch"]
    is_low = len(pitches) and pitches.mean() < _MIDDLE_C
    return ("F", "4") if is_low else ("G", "2")


def _direction(tag: str, text: str | None = None, placement: str = "above") -> ET.Element:
    direction = ET.Element("direction", placement=placement)
    _child(_child(direction, "direction-type"), tag, text)
    return direction


def _tempo(qpm: str) -> ET.Element:
    direction = _direction("metronome")
    (metronome,) = direction.iter("metronome")
    _child(metronome, "beat-unit", "quarter")
    _child(metronome, "per-minute", qpm)
    _child(direction, "sound", tempo=qpm)
    return direction


def _pedals(track: "symusic.Track", end: int) -> Iterator[tuple[int, ET.Element]]:
    for down, up in pedal_spans(track):
        if down < end:
            for tick, pedal_type, word in ((down, "start", "yes"), (min(up, end), "stop", "no")):
                direction = _direction("pedal", placement="below")
                for pedal in direction.iter("pedal"):
                    pedal.attrib.update(type=pedal_type, line="no", sign="yes")
                ET.SubElement(direction, "sound", {"damper-pedal": word})
                yield tick, direction


def _mark(measure: ET.Element, placed: list[tuple[int, ET.Element]], start: int, last: int) -> None:
    """Write and remove the directions between two ticks, then return to the bar line."""
    now = start
    while placed and placed[0][0] <= last:
        tick, element = placed.pop(0)
        _move(measure, "forward", tick - now)
        measure.append(element)
        now = max(now, tick)
    _move(measure, "backup", now - start)


def _move(measure: ET.Element, tag: str, ticks: int) -> None:
    if ticks > 0:
        _child(_child(measure, tag), "duration", ticks)


def _signs_of(cell: Sequence[ChordSlice], voice: int, start: int, stop: int) -> Iterator[_Sign]:
    for piece in cell:
        if not piece.chord.notes and (piece.onset, piece.end) == (start, stop):
            yield _Sign(start, None, stop - start, voice, piece)
            continue
        now = piece.onset
        for value in note_values(now - start, piece.end - now):
            yield _Sign(now, value, value.ticks, voice, piece)
            now += value.ticks


def _write_voices(
    measure: ET.Element,
    signs: Sequence[_Sign],
    start: int,
    spelling: Spelling,
    lyrics: dict[int, list[str]],
) -> None:
    """Write the voices one after another; rests are printed in the first one only."""
    by_time = sorted(range(len(signs)), key=lambda index: signs[index].onset)
    notes = [
        (signs[index].onset, note.pitch, signs[index].is_tied_from)
        for index in by_time
        for note in signs[index].piece.chord.notes
    ]
    spelled = iter(spelling.measure(notes))
    spellings = {
        index: [next(spelled) for _ in signs[index].piece.chord.notes] for index in by_time
    }
    now = start
    for index, sign in enumerate(signs):
        is_rest = not sign.piece.chord.notes
        if is_rest and sign.voice > 1:
            continue
        _move(measure, "backup", now - sign.onset)
        _move(measure, "forward", sign.onset - now)
        if is_rest:
            _write_rest(measure, sign)
        else:
            words = [] if sign.is_tied_from else lyrics.get(sign.onset, [])
            _write_chord(measure, sign, spellings[index], words.pop(0) if words else None)
        now = sign.onset + sign.ticks


def _write_rest(measure: ET.Element, sign: _Sign) -> None:
    note = _child(measure, "note")
    rest = _child(note, "rest")
    _child(note, "duration", sign.ticks)
    _child(note, "voice", sign.voice)
    if sign.value is None:
        rest.set("measure", "yes")
    else:
        add_value(note, sign.value)


def _write_chord(
    measure: ET.Element, sign: _Sign, spellings: Sequence[Spelled], lyric: str | None
) -> None:
    assert sign.value is not None
    tie_ends = {"stop": sign.is_tied_from, "start": sign.is_tied_on}
    ties = [tie_type for tie_type, is_there in tie_ends.items() if is_there]
    for index, (sounding, spelled) in enumerate(
        zip(sign.piece.chord.notes, spellings, strict=True)
    ):
        loudness = f"{100 * sounding.velocity / _FULL_VELOCITY:.2f}"
        note = _child(measure, "note", dynamics=loudness)
        if index:
            _child(note, "chord")
        add_pitch(_child(note, "pitch"), spelled.letter, spelled.alter, spelled.octave)
        _child(note, "duration", sign.ticks)
        for kind in ties:
            _child(note, "tie", type=kind)
        _child(note, "voice", sign.voice)
        add_value(note, sign.value, accidental=spelled.accidental)
        if ties:
            notations = _child(note, "notations")
            for kind in ties:
                _child(notations, "tied", type=kind)
        if lyric is not None and not index:
            words = _child(note, "lyric", number=1)
            _child(words, "syllabic", "single")
            _child(words, "text", lyric)
