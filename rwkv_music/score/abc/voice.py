"""One voice of an ABC tune: turns tokens into notes, bar lines and changes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from rwkv_music.errors import InputError
from rwkv_music.score.abc.fields import Key, Meter, Settings, VoiceProperties
from rwkv_music.score.abc.tokens import parse_note_length
from rwkv_music.score.notation.jump_words import jump_in_words

MAX_NOTES = 1_000_000
MAX_WHOLE_NOTES = 200_000
_MAX_DENOMINATOR = 1 << 20
_MAX_OPEN_TIES = 8
"""Of one pitch; more are errors of the file."""
_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ALTERATIONS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}
_TUPLET_TIMES = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}
_NOTE_IN_CHORD = re.compile(
    r"(?P<accidental>\^\^?|__?|=)?(?P<letter>[A-Ga-g])(?P<octave>[,']*)"
    r"(?P<length>(?:\d{1,6})?/{0,8}(?:\d{1,6})?)(?P<tie>-?)"
)
_NO_NOTE_IN_CHORD = re.compile(r'"[^"]*"|![^!]*!')


@dataclass
class AbcNote:
    """A sounding note; times are in whole notes."""

    onset: Fraction
    duration: Fraction
    pitch: int
    program: int
    is_drum: bool
    continues: bool = False
    """Whether it is tied to a note before the last bar line, which ends where this one begins."""
    is_continued: bool = False
    """Whether a note behind a bar line is tied to it."""

    @property
    def end(self) -> Fraction:
        """When the note ends."""
        return self.onset + self.duration


class BarLine(NamedTuple):
    """A bar line of a voice."""

    time: Fraction
    symbol: str
    """As written, for example `:|`; empty for a bar line inside a multi-measure rest."""


class RepeatEnding(NamedTuple):
    """The beginning of a first, second, ... ending."""

    time: Fraction
    numbers: frozenset[int]


class JumpMark(NamedTuple):
    """A sign or word for a jump."""

    time: Fraction
    name: str
    """Field of `MeasureMarks`, such as "da_capo"."""
    is_at_bar_line: bool
    """Whether it stands over a bar line and not over a note."""


class _Group(NamedTuple):
    """A note, chord or rest that a broken rhythm can change."""

    onset: Fraction
    duration: Fraction
    notes: tuple[tuple[int, Fraction], ...]
    """Index and written duration of its notes, which may be parts of tied notes."""


@dataclass
class Voice:
    """The content of one voice, in the order of the file."""

    settings: Settings
    accidental_scope: str = "pitch"
    """How far accidentals reach in a bar: "not", "octave" or "pitch" (all octaves)."""
    properties: VoiceProperties = field(default_factory=VoiceProperties)
    notes: list[AbcNote] = field(default_factory=list)
    bar_lines: list[BarLine] = field(default_factory=list)
    endings: list[RepeatEnding] = field(default_factory=list)
    meters: list[tuple[Fraction, Meter]] = field(default_factory=list)
    keys: list[tuple[Fraction, Key]] = field(default_factory=list)
    lyrics: list[tuple[Fraction, str]] = field(default_factory=list)
    time: Fraction = Fraction(0)
    length: Fraction = Fraction(1, 8)
    meter: Meter | None = None
    key: Key = field(default_factory=Key)
    program: int = 0
    is_drum: bool = False
    jumps: list[JumpMark] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start with the settings of the head."""
        self.length, self.meter = self.settings.length, self.settings.meter
        self.key = self.settings.key
        self.program, self.is_drum = self.settings.program, self.settings.is_drum
        self.properties = self.settings.voice
        self._accidentals: dict[tuple[str, int], int] = {}
        self._bar_start = self._layer_end = Fraction(0)
        self._ties: dict[tuple[str, int], list[int]] = {}
        self._tuplet_factor, self._tuplet_left = Fraction(1), 0
        self._last: _Group | None = None
        self._last_written: list[tuple[tuple[str, int], int]] = []
        self._next_factor = Fraction(1)
        self._line_anchors: list[tuple[str, Fraction]] = []
        self._waiting_jumps: list[str] = []

    def start_line(self) -> None:
        """Begin a line of music, with whose notes the next w: field aligns."""
        self._line_anchors = []

    def read_token(self, symbol: str, match: re.Match[str]) -> None:  # noqa: C901, PLR0912 - a case a kind
        """Read a token of `rwkv_music.score.abc.tokens`; kinds without sound are ignored."""
        if self._waiting_jumps and symbol in {"note", "chord", "rest", "bars_of_rest", "bar"}:
            self._place_jumps(is_at_bar_line=symbol == "bar")
        match symbol:
            case "note":
                self._add_note(match)
            case "chord":
                self._add_chord(match)
            case "rest":
                self._add_rest(match)
            case "bars_of_rest":
                self._add_bars_of_rest(match)
            case "bar":
                self._add_bar_line(match)
            case "ending":
                self._add_ending(match)
            case "tuplet":
                self._start_tuplet(match)
            case "broken":
                self._break_rhythm(match)
            case "tie":
                self._add_tie()
            case "overlay":
                self._start_layer()
            case "decoration":
                name = _JUMPS.get(match[0].strip("!+").lower())
                self._waiting_jumps += [name] if name else []
            case "annotation":
                name = jump_in_words(match[0].strip('"').lstrip("^_<>@"))
                self._waiting_jumps += [name] if name else []

    def finish(self) -> None:
        """Place what stands behind the last bar line."""
        self._place_jumps(is_at_bar_line=True)

    def _place_jumps(self, *, is_at_bar_line: bool) -> None:
        time = max(self.time, self._layer_end) if is_at_bar_line else self.time
        self.jumps += [JumpMark(time, name, is_at_bar_line) for name in self._waiting_jumps]
        self._waiting_jumps.clear()

    def set_meter(self, meter: Meter | None) -> None:
        """Change the meter from here on."""
        self.meter = meter
        if meter is not None:
            self.meters.append((self.time, meter))

    def set_key(self, key: Key) -> None:
        """Change the key from here on."""
        self.key = key
        self.keys.append((self.time, key))
        self._accidentals.clear()

    def add_lyrics(self, text: str) -> None:
        """Assign the syllables of a w: field to the notes of the last line."""
        anchors = iter(self._line_anchors)
        for syllable in _syllables(text):
            for anchor, time in anchors:
                if anchor == "bar" and syllable != "|":
                    continue
                if anchor == "note" and syllable == "|":
                    continue
                if syllable not in {"|", "*", "_"}:
                    self.lyrics.append((time, syllable))
                break
        self._line_anchors = []

    def _add_note(self, match: re.Match[str]) -> None:
        duration = self._take_duration(parse_note_length(match["length"]))
        index = self._strike(match, duration)
        self._finish_group(duration, [(index, duration)])
        self._last_written = [(_letter_and_octave(match), index)]

    def _add_chord(self, match: re.Match[str]) -> None:
        inside = _NO_NOTE_IN_CHORD.sub(" ", match["inside"])
        written = list(_NOTE_IN_CHORD.finditer(inside))
        if not written:
            return
        outer = self._take_duration(parse_note_length(match["chord_length"]))
        lengths = [parse_note_length(note["length"]) for note in written]
        notes = [
            (self._strike(note, outer * length), outer * length)
            for note, length in zip(written, lengths, strict=True)
        ]
        self._finish_group(outer * lengths[0], notes)
        self._last_written = [
            (_letter_and_octave(note), index)
            for note, (index, _) in zip(written, notes, strict=True)
        ]
        for note, (pitch_name, index) in zip(written, self._last_written, strict=True):
            if note["tie"]:
                self._tie(pitch_name, index)

    def _add_rest(self, match: re.Match[str]) -> None:
        duration = self._take_duration(parse_note_length(match["rest_length"]))
        self._finish_group(duration, [])
        self._line_anchors.pop()
        self._last_written = []

    def _add_bars_of_rest(self, match: re.Match[str]) -> None:
        bar = self.meter.whole_notes if self.meter else Fraction(1)
        count = int(match["bars"] or 1)
        if count * bar > MAX_WHOLE_NOTES:
            raise InputError(f"has a rest of {count} bars: correct it")
        for index in range(count):
            if index:
                self._end_bar(BarLine(self.time, ""))
            self._advance(bar)
        self._last, self._last_written = None, []

    def _add_bar_line(self, match: re.Match[str]) -> None:
        self.time = max(self.time, self._layer_end)
        self._end_bar(BarLine(self.time, match["bar"]))
        self._line_anchors.append(("bar", self.time))

    def _end_bar(self, line: BarLine) -> None:
        self.bar_lines.append(line)
        self._bar_start = self._layer_end = self.time
        self._accidentals.clear()
        self._tuplet_left = 0

    def _add_ending(self, match: re.Match[str]) -> None:
        passes: set[int] = set()
        for part in match["ending"].lstrip("[").replace(".", ",").split(","):
            first, dash, last = part.partition("-")
            if first.isdecimal() and len(first) < 3:
                is_range = dash and last.isdecimal() and len(last) < 3
                passes.update(range(int(first), int(last) + 1) if is_range else (int(first),))
        self.endings.append(RepeatEnding(self.time, frozenset(passes)))

    def _start_tuplet(self, match: re.Match[str]) -> None:
        count = int(match["p"])
        default = _TUPLET_TIMES.get(count, 3 if self.meter and self.meter.is_compound else 2)
        times = int(match["q"] or 0) or default
        if count:
            self._tuplet_factor = Fraction(times, count)
            self._tuplet_left = int(match["r"] or 0) or count

    def _break_rhythm(self, match: re.Match[str]) -> None:
        if self._last is None:
            return
        shorter = Fraction(1, 1 << len(match["broken"]))
        longer = 2 - shorter
        factor, self._next_factor = (
            (longer, shorter) if match["broken"][0] == ">" else (shorter, longer)
        )
        for index, duration in self._last.notes:
            self.notes[index].duration += duration * (factor - 1)
        self.time = self._last.onset + self._last.duration * factor
        self._last = None

    def _add_tie(self) -> None:
        for pitch_name, index in self._last_written:
            self._tie(pitch_name, index)

    def _tie(self, pitch_name: tuple[str, int], index: int) -> None:
        waiting = self._ties.setdefault(pitch_name, [])
        if index not in waiting:
            waiting.append(index)
            del waiting[:-_MAX_OPEN_TIES]

    def _start_layer(self) -> None:
        self._layer_end = max(self._layer_end, self.time)
        self.time = self._bar_start
        self._accidentals.clear()
        self._last, self._last_written = None, []

    def _take_duration(self, length: Fraction) -> Fraction:
        """Return a duration in whole notes, with the tuplet and broken rhythm applied."""
        duration = length * self.length * self._next_factor
        self._next_factor = Fraction(1)
        if self._tuplet_left:
            self._tuplet_left -= 1
            duration *= self._tuplet_factor
        return duration.limit_denominator(_MAX_DENOMINATOR)

    def _strike(self, match: re.Match[str], duration: Fraction) -> int:
        """Add a note, or extend the note that is tied to it; return its index."""
        pitch_name = _letter_and_octave(match)
        waiting = self._ties.get(pitch_name, [])
        tied = next((index for index in waiting if self.notes[index].end == self.time), None)
        pitch = self._pitch(match, None if tied is None else self.notes[tied].pitch)
        if tied is not None and pitch == self.notes[tied].pitch:
            waiting.remove(tied)
            if self.notes[tied].onset >= self._bar_start:
                self.notes[tied].duration += duration
                return tied
            self.notes[tied].is_continued = True
        if len(self.notes) >= MAX_NOTES:
            raise InputError(f"has more than {MAX_NOTES} notes: split it")
        if not 0 <= pitch <= 127:
            raise InputError(f"the note '{match[0]}' is outside the 128 MIDI pitches: correct it")
        note = AbcNote(self.time, duration, pitch, self.program, self.is_drum)
        if tied is not None and pitch == self.notes[tied].pitch:
            before = self.notes[tied]
            note = AbcNote(self.time, duration, pitch, before.program, before.is_drum, True)
        self.notes.append(note)
        return len(self.notes) - 1

    def _pitch(self, match: re.Match[str], tied_pitch: int | None) -> int:
        letter, octave = _letter_and_octave(match)
        scope = (letter, octave if self.accidental_scope == "octave" else 0)
        if match["accidental"]:
            alteration = _ALTERATIONS[match["accidental"]]
            if self.accidental_scope != "not":
                self._accidentals[scope] = alteration
        elif tied_pitch is not None:
            return tied_pitch
        else:
            alteration = self._accidentals.get(scope, self.key.alterations.get(letter, 0))
        written = 60 + 12 * octave + _SEMITONES[letter] + alteration
        return written + self.properties.semitones

    def _finish_group(self, duration: Fraction, notes: list[tuple[int, Fraction]]) -> None:
        self._last = _Group(self.time, duration, tuple(notes))
        self._line_anchors.append(("note", self.time))
        self._advance(duration)

    def _advance(self, duration: Fraction) -> None:
        self.time += duration
        if self.time > MAX_WHOLE_NOTES:
            raise InputError(f"is longer than {MAX_WHOLE_NOTES} whole notes: correct it")
        if self.time.denominator > _MAX_DENOMINATOR:
            self.time = self.time.limit_denominator(_MAX_DENOMINATOR)


_JUMPS = {
    "d.c.": "da_capo", "dacapo": "da_capo", "d.c.alfine": "da_capo", "d.c.alcoda": "da_capo",
    "d.s.": "dal_segno", "d.s.alfine": "dal_segno", "d.s.alcoda": "dal_segno",
    "dacoda": "to_coda", "tocoda": "to_coda", "fine": "fine", "segno": "segno", "coda": "coda",
}  # fmt: skip
"""Decorations, and the fields of `MeasureMarks` that they stand for."""


def _letter_and_octave(match: re.Match[str]) -> tuple[str, int]:
    letter, marks = match["letter"], match["octave"]
    octave = marks.count("'") - marks.count(",") + letter.islower()
    return letter.upper(), octave


def _syllables(text: str) -> Iterator[str]:
    """Yield the syllables of a w: field; `*`, `_` and `|` stand for themselves."""
    pattern = r"\||\*|_|-|(?:\\-|[^\s\-_*|])+"
    previous = ""
    for match in re.finditer(pattern, text):
        word = match[0]
        if word == "-":
            if previous == "-":
                yield "*"
            previous = word
            continue
        previous = word
        yield word.replace("~", " ").replace("\\-", "-")
