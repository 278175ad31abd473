"""Reader of one part of a MusicXML file: its measures as written notes and events."""

import re
from bisect import bisect_right
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from xml.etree import ElementTree as ET

from rwkv_music.score.musicxml.accidentals import PrintedAccidentals
from rwkv_music.score.musicxml.attributes import (
    Transposition,
    read_decimal,
    read_key,
    read_time,
    read_transpositions,
)
from rwkv_music.score.musicxml.directions import (
    DirectionEvents,
    read_barline,
    read_direction,
    read_sound,
)
from rwkv_music.score.musicxml.note_reader import NoteElement, read_note, written_length
from rwkv_music.score.musicxml.part_list import PartEntry, PartInstrument
from rwkv_music.score.notation.written import (
    TrackInfo,
    WrittenMeasure,
    WrittenNote,
    WrittenPart,
    WrittenTempo,
)

_DEFAULT_VELOCITY = 80
_ROUNDING = 40
"""A 40th of a quarter is shorter than any written note that could make a measure longer."""


class PartReader:
    """Reads the measures of a part one after another.

    Args:
        entry: The part in the part list.
        units: To a quarter.
    """

    def __init__(self, entry: PartEntry, units: int) -> None:
        self.part = WrittenPart()
        self.times: list[tuple[WrittenMeasure, tuple[int, int, int]]] = []
        self.keys: list[tuple[WrittenMeasure, tuple[int, int, int]]] = []
        """Time signatures and keys of the part with their measures."""
        self.num_out_of_range = 0
        """Notes left out because MIDI has no such pitch."""
        self._entry = entry
        self._units = units
        self._per_division = Fraction(units)
        self._transpositions: dict[str, Transposition] = {}
        self._time = (0, 4)
        self._staves: dict[Hashable, str] = {}
        """Of the tracks."""
        self._velocities: list[tuple[int, int]] = []
        """Changes in the current measure, behind the last one before it."""
        self._accidentals = PrintedAccidentals()
        self._measure_repeats: dict[str, int] = {}
        """By staff ("" for all): how many measures a repeat sign repeats."""
        self._changes: list[tuple[int, str, PartInstrument]] = []

    def read_measure(self, element: ET.Element, measure: WrittenMeasure) -> None:
        """Read a measure and add its events to those of the other parts.

        Raises:
            ValueError: If a number cannot be read.
        """
        self._measure = measure
        self._now = self._onset = self._end = self._rest_end = 0
        self._notes: list[tuple[int, int, NoteElement]] = []
        self._pedals: list[tuple[int, int]] = []
        for child in element:
            self._read_child(child)
        self._velocities.sort(key=lambda change: change[0])
        notes = list(self._resolved_notes())
        self.part.notes.append([*notes, *self._repeated_notes(notes)])
        self.part.pedals.append(self._pedals)
        self._velocities = [(-1, velocity) for _, velocity in self._velocities[-1:]]
        self._entry.instruments.update({key: sound for _, key, sound in self._changes})
        self._changes.clear()
        self._accidentals.end_measure()
        is_implicit = element.get("implicit") == "yes"
        measure.length = max(measure.length, self._length(is_implicit=is_implicit))

    def skip_to(self, index: int) -> None:
        """Leave measures empty up to an index."""
        while len(self.part.notes) < index:
            self.part.notes.append([])
            self.part.pedals.append([])

    def finished_part(self) -> WrittenPart:
        """Return the part with its tracks in the order of its staves."""
        tracks = sorted(self.part.tracks.items(), key=lambda item: self._staves[item[0]].zfill(3))
        self.part.tracks = dict(tracks)
        return self.part

    @property
    def has_only_drums(self) -> bool:
        """Whether no note of the part has a pitch."""
        return all(info.is_drum for info in self.part.tracks.values())

    @property
    def bar_length(self) -> int:
        """Units of a bar of the current time signature; 0 without one."""
        beats, unit = self._time
        return 4 * self._units * beats // unit

    def _read_child(self, child: ET.Element) -> None:
        match child.tag:
            case "note":
                self._read_note(child)
            case "backup":
                self._now = max(0, self._now - self._duration(child.findtext("duration")))
            case "forward":
                self._now += self._duration(child.findtext("duration"))
                self._end = max(self._end, self._now)
            case "attributes":
                self._read_attributes(child)
            case "direction":
                self._add(read_direction(child), child)
            case "sound":
                self._add(read_sound(child), child)
            case "barline":
                self._measure.marks.merge(read_barline(child))
            case _:
                pass  # printed only

    def _length(self, *, is_implicit: bool) -> int:
        """Units of the measure in this part.

        A rest of a whole measure is at most as long as the time signature. If it is that long, it
        tells nothing of a measure that is marked as shorter. A measure that misses the time
        signature by a rounding error is as long as the time signature.
        """
        rest = min(self._rest_end, self.bar_length) if self.bar_length else self._rest_end
        if is_implicit and self._end and rest == self.bar_length:
            rest = 0
        length = max(self._end, rest)
        is_rounded = abs(length - self.bar_length) * _ROUNDING <= self._units
        return self.bar_length if is_rounded else length

    def _duration(self, text: str | None) -> int:
        """Units of a number of divisions."""
        text = (text or "").strip()
        if not text:
            return 0
        divisions = int(text) if text.isdecimal() else read_decimal(text)
        return max(0, round(divisions * self._per_division))

    def _shift(self, text: str | None) -> int:
        """Units of a number of divisions that may be negative; 0 if it cannot be read."""
        try:
            return round(read_decimal(text or "0") * self._per_division)
        except ValueError:
            return 0

    def _read_note(self, element: ET.Element) -> None:
        note = read_note(element)
        if note.is_grace:
            return
        length = self._duration(note.duration) or round(written_length(element) * self._units)
        if not note.is_chord:
            self._onset = self._now
            self._now += length
        end = self._onset + length
        if note.is_measure_rest:
            self._rest_end = max(self._rest_end, end)
        else:
            self._end = max(self._end, end)
        if note.is_sounding:
            self._accidentals.apply(note)
            doubling = self._transpose(note)
            self._notes.append((self._onset, max(end, self._onset + 1), note))
            if doubling and note.pitch is not None:
                double = replace(note, pitch=note.pitch + doubling, lyrics=[])
                self._notes.append((self._onset, max(end, self._onset + 1), double))

    def _resolved_notes(self) -> Iterator[WrittenNote]:
        """The notes with their sounding pitch, velocity and track."""
        moments = [onset for onset, _ in self._velocities]
        for onset, end, note in self._notes:
            instrument = self._instrument(note, onset)
            pitch = self._sounding_pitch(note, instrument)
            if not 0 <= pitch < 128:
                self.num_out_of_range += 1
                continue
            velocity = note.velocity
            if velocity is None:
                index = bisect_right(moments, onset)
                velocity = self._velocities[index - 1][1] if index else _DEFAULT_VELOCITY
            info = TrackInfo(
                self._entry.name, instrument.program, instrument.is_drum or note.is_unpitched
            )
            track = (note.staff, info.program, info.is_drum)
            self.part.tracks.setdefault(track, info)
            self._staves[track] = note.staff
            begin = onset if "stop" in note.ties else max(0, onset + self._shift(note.attack))
            stop = end if "start" in note.ties else end + self._shift(note.release)
            yield WrittenNote(
                begin,
                max(stop, begin + 1),
                pitch,
                velocity,
                track,
                (note.staff, note.voice),
                continues="stop" in note.ties,
                is_continued="start" in note.ties,
                lyrics=tuple(text for text in note.lyrics if text),
            )

    def _instrument(self, note: NoteElement, onset: int) -> PartInstrument:
        instruments = self._entry.instruments
        key = note.instrument if note.instrument in instruments else next(iter(instruments))
        changed = [
            sound for moment, name, sound in self._changes if name == key and moment <= onset
        ]
        return changed[-1] if changed else instruments[key or ""]

    def _transpose(self, note: NoteElement) -> int:
        """Give a note its sounding pitch; return semitones to its double, or 0.

        The transposition may change inside a measure.
        """
        if note.pitch is None or note.is_unpitched or not self._transpositions:
            return 0
        default = self._transpositions.get("", Transposition())
        valid = self._transpositions.get(note.staff, default)
        note.pitch += valid.semitones
        return valid.doubling

    def _sounding_pitch(self, note: NoteElement, instrument: PartInstrument) -> int:
        assert note.pitch is not None
        if note.is_unpitched and instrument.drum is not None:
            return instrument.drum
        return note.pitch

    def _read_attributes(self, element: ET.Element) -> None:
        divisions = element.findtext("divisions", "").strip()
        if divisions:
            value = read_decimal(divisions)
            if value <= 0:
                raise ValueError(f"divisions of {divisions}, they must be positive")
            self._per_division = self._units / value
            if self._per_division.denominator == 1:
                self._per_division = int(self._per_division)  # type: ignore[assignment]
        changed = read_transpositions(element)
        if "" in changed:
            self._transpositions.clear()  # of single staves
        self._transpositions.update(changed)
        time = read_time(element)
        if time is not None:
            self._time = time
            self.times.append((self._measure, (self._now, *time)))
        key = read_key(element, self._transpositions.get("", Transposition()).fifths)
        if key is not None:
            self.keys.append((self._measure, (self._now, *key)))
        for style in element.iterfind("measure-style"):
            self._read_measure_repeat(style)

    def _read_measure_repeat(self, style: ET.Element) -> None:
        repeat = style.find("measure-repeat")
        if repeat is None:
            return
        staff = style.get("number", "")
        if repeat.get("type") == "start":
            text = (repeat.text or "").strip()
            self._measure_repeats[staff] = int(text) if re.fullmatch("[1-9]", text) else 1
        else:
            self._measure_repeats.pop(staff, None)

    def _repeated_notes(self, written: Sequence[WrittenNote]) -> Iterator[WrittenNote]:
        """The notes of a measure with a repeat sign; its staff is empty in the file."""
        index = len(self.part.notes)
        for staff, distance in self._measure_repeats.items():
            is_written = any(staff in {"", _staff(note)} for note in written)
            if not is_written and distance <= index:
                for note in self.part.notes[index - distance]:
                    if staff in {"", _staff(note)}:
                        yield note

    def _add(self, events: DirectionEvents, element: ET.Element) -> None:
        """Add what happens at one moment."""
        now = self._now
        offset = element.find("offset")
        # An offset without sound="yes" moves only what is printed.
        if element.tag == "direction" and (offset is None or offset.get("sound") != "yes"):
            offset = element.find("sound/offset")
        if offset is not None:
            shift = round(read_decimal(offset.text or "0") * self._per_division)
            now = max(0, now + shift)
        measure = self._measure
        for qpm, is_played in ((events.printed_qpm, False), (events.played_qpm, True)):
            if qpm is not None:
                measure.tempos.append(WrittenTempo(now, qpm, is_played))
        if events.velocity is not None:
            self._velocities.append((now, events.velocity))
        self._pedals.extend((now, value) for value in events.pedals)
        measure.markers.extend((now, text) for text in events.markers)
        measure.marks.merge(events.marks)
        for change in events.instruments:
            key = change.get("id", "")
            self._changes.append((now, key, self._entry.changed(change)))


def _staff(note: WrittenNote) -> str:
    assert isinstance(note.track, tuple)
    return str(note.track[0])
