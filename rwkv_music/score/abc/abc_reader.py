"""Read ABC notation, version 2.1 of the standard (abcnotation.com), as it is written.

Supported: voices, keys with modes and accidentals, meters, tempos, unit lengths, clefs with octave
marks, transposition, tuplets, broken rhythms, ties, chords, overlays, multi-measure rests, macros,
repeats, endings, jumps (da capo, dal segno) and the order of parts, lyrics of the first verse,
`%%MIDI program`, `channel` and `transpose`. Grace notes, decorations, dynamics and chord symbols do
not sound. `middle=` moves a clef on its staff and changes no pitch. Errors are skipped and
reported.
"""

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from rwkv_music.errors import InputError, ScoreFileError
from rwkv_music.score.abc.abc_score import AbcTune, score_of_tune
from rwkv_music.score.abc.fields import (
    Settings,
    VoiceProperties,
    parse_key,
    parse_length,
    parse_meter,
    parse_tempo,
    parse_voice,
)
from rwkv_music.score.abc.lines import FIELD, AbcLine, is_field, joined_lines, tune_lines
from rwkv_music.score.abc.macros import Macros
from rwkv_music.score.abc.note_count import count_notes
from rwkv_music.score.abc.repeats import PartLabel, parse_part_order
from rwkv_music.score.abc.tokens import tokens, without_comment
from rwkv_music.score.abc.voice import Voice
from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.score.text_decoding import decode_text

MAX_TUNE_CHARACTERS = 2 << 20
_TUNE = re.compile(r"^X:", re.MULTILINE)
_MIDI = re.compile(r"\s*MIDI\s*=?\s*(\w+)\s*([^%]*)")
_DRUM_CHANNEL = 10
_ESCAPED_ACCENTS = {
    "`": "\u0300", "'": "\u0301", "^": "\u0302", "~": "\u0303", '"': "\u0308", ",": "\u0327",
    "=": "\u0304", "u": "\u0306", "v": "\u030c", "H": "\u030b", "c": "\u0327", "r": "\u030a",
}  # fmt: skip


def read_abc(content: bytes, *, name: str | Path, unfold_repeats: bool = False) -> LoadedScore:
    """Read the first tune of an ABC file.

    Args:
        content: The whole file.
        name: Name used in errors.
        unfold_repeats: Play repeats and endings.

    Raises:
        ScoreFileError: If there is no tune, or it has no notes or is too long.
    """
    if not content.strip():
        raise ScoreFileError(name, f"is empty ({len(content)} bytes): copy it again")
    text = decode_text(content).replace("\r\n", "\n").replace("\r", "\n")
    try:
        return _read_text(text, unfold_repeats=unfold_repeats)
    except InputError as error:
        raise ScoreFileError(name, str(error)) from error


def _read_text(text: str, *, unfold_repeats: bool) -> LoadedScore:
    starts = [match.start() for match in _TUNE.finditer(text)]
    if not starts:
        raise InputError("holds no tune (no line begins with X:): choose another file")
    stop = starts[1] if len(starts) > 1 else len(text)
    if stop - starts[0] > MAX_TUNE_CHARACTERS or starts[0] > MAX_TUNE_CHARACTERS:
        raise InputError(
            f"has a tune of {stop - starts[0]} characters, at most {MAX_TUNE_CHARACTERS} are "
            "supported: split it"
        )
    head = list(tune_lines(text[: starts[0]], 1))
    lines = list(tune_lines(text[starts[0] : stop], 1 + text[: starts[0]].count("\n")))
    reader = _TuneReader()
    reader.read_file_header(head)
    reader.read(lines)
    repairs = reader.reported_errors
    if len(starts) > 1:
        repairs.append(f"holds {len(starts)} tunes, the first one was read")
    once = score_of_tune(reader.tune, unfold_repeats=False)
    if not once.score.note_num():
        raise InputError("contains no notes, at least 1 is needed: choose another file")
    counted = count_notes([line.text for line in reader.body])
    if not unfold_repeats:
        return LoadedScore(once.score, tuple(repairs), "rwkv-music", counted, once.has_repeats)
    played = score_of_tune(reader.tune, unfold_repeats=True)
    # The notes of the source are counted once; repeated notes are added.
    counted += played.score.note_num() - once.score.note_num()
    return LoadedScore(played.score, tuple(repairs), "rwkv-music", counted, False)


class _TuneReader:
    """Reads the lines of one tune into voices."""

    def __init__(self) -> None:
        self.tune = AbcTune()
        self.body: list[AbcLine] = []
        self._settings = Settings()
        self._declared: dict[str, VoiceProperties] = {}
        self._midi_of_declared: dict[str, Settings] = {}
        self._voices: dict[str, Voice] = {}
        self._current: Voice | None = None
        self._head_voice: str | None = None
        self._accidental_scope = "pitch"
        self._initial_tempo: str | None = None
        self._errors: list[tuple[int, str]] = []
        self._line_number = 0
        self._macros = Macros()

    @property
    def reported_errors(self) -> list[str]:
        """The number of errors, and the first one with its line."""
        if not self._errors:
            return []
        line, reason = self._errors[0]
        count = len(self._errors)
        return [
            f"{count} {'error' if count == 1 else 'errors'} skipped, the first in line {line}: "
            f"{reason}"
        ]

    def read_file_header(self, lines: list[AbcLine]) -> None:
        """Read the fields before the first tune, which hold for all tunes."""
        for line in lines:
            if re.match(r"[MLQRIVm]:|%%MIDI", line.text):
                self._read_head_line(line)
        self._errors.clear()

    def read(self, lines: list[AbcLine]) -> None:
        """Read a tune from its X: field on."""
        is_head = True
        has_key = any(line.text.startswith("K:") for line in lines)
        for line in joined_lines(lines):
            if is_head and not has_key and _is_music(line.text):
                self._line_number = line.number
                self._add_error("the field K: that begins the music is missing")
                is_head = False
                self._end_head()
            if is_head:
                is_head = not line.text.startswith("K:")
                self._read_head_line(line)
                if not is_head:
                    self._end_head()
            else:
                if not is_field(line.text):
                    line = line._replace(text=self._macros.expand(line.text))  # noqa: PLW2901
                self.body.append(line)
                self._read_body_line(line)
        for voice in self._voices.values():
            voice.finish()
        self.tune.voices = [voice for voice in self._voices.values() if voice.notes]
        self.tune.meter, self.tune.key = self._settings.meter, self._settings.key

    def _end_head(self) -> None:
        self._settings = self._settings.with_fixed_length()
        if self._initial_tempo is not None:
            self._add_tempo(self._initial_tempo, self._settings.length, Fraction(0))

    def _read_head_line(self, line: AbcLine) -> None:
        self._line_number = line.number
        if line.text.startswith("%%"):
            self._read_directive(line.text[2:])
            return
        match = FIELD.match(without_comment(line.text))
        if match is None:
            return
        letter, value = match[1], match[2].strip()
        try:
            self._read_head_field(letter, value)
        except ValueError as error:
            self._add_error(f"{error} is not valid")

    def _read_head_field(self, letter: str, value: str) -> None:
        settings = self._settings
        match letter:
            case "M":
                self._settings = replace(settings, meter=parse_meter(value))
            case "L":
                self._settings = replace(settings, unit_length=parse_length(value))
            case "Q":
                self._initial_tempo = value
            case "I":
                self._read_directive(value)
            case "P":
                self.tune.part_order = parse_part_order(value)
            case "m":
                self._macros.define(value)
            case "V":
                voice, properties = parse_voice(value)
                known = self._declared.get(voice, VoiceProperties())
                self._declared[voice] = known.updated(properties)
                self._head_voice = voice
            case "K":
                key, properties = parse_key(value)
                self._settings = replace(
                    settings, key=key or settings.key, voice=settings.voice.updated(properties)
                )

    def _read_body_line(self, line: AbcLine) -> None:
        self._line_number = line.number
        text = line.text
        if text.startswith("%%"):
            self._read_directive(text[2:])
            return
        text = without_comment(text)
        field = FIELD.match(text)
        if field is not None and is_field(text):
            self._read_body_field(field[1], field[2].strip())
        elif text.strip():
            self._read_music(text)

    def _read_music(self, text: str) -> None:
        voice = self._voice()
        voice.start_line()
        for symbol, match in tokens(text):
            if symbol == "field":
                previous, voice = voice, self._read_body_field(match[0][1], match[0][3:-1])
                if voice is not previous:
                    voice.start_line()
            elif symbol == "unknown":
                self._add_error(f"'{match[0]}' is not valid")
            else:
                voice.read_token(symbol, match)

    def _read_body_field(self, letter: str, value: str) -> Voice:
        """Read a field in the body; return the voice that continues."""
        try:
            self._apply_field(letter, value)
        except ValueError as error:
            self._add_error(f"{error} is not valid")
        return self._voice()

    def _apply_field(self, letter: str, value: str) -> None:  # noqa: C901 - one case a field
        if letter == "V":
            self._current = self._voice_named(value)
            return
        voice = self._voice()
        match letter:
            case "M":
                voice.set_meter(parse_meter(value))
            case "L":
                voice.length = parse_length(value)
            case "K":
                key, properties = parse_key(value)
                if key is not None:
                    voice.set_key(key)
                voice.properties = voice.properties.updated(properties)
            case "Q":
                self._add_tempo(value, voice.length, voice.time)
            case "I":
                self._read_directive(value)
            case "P":
                self.tune.parts.append(PartLabel(voice.time, value.strip()[:1]))
            case "m":
                self._macros.define(value)
            case "w":
                voice.add_lyrics(_unescaped(value))

    def _voice(self) -> Voice:
        """Return the current voice; before any V: field the first declared one."""
        if self._current is None:
            self._current = self._voice_named(next(iter(self._declared), "1"))
        return self._current

    def _voice_named(self, value: str) -> Voice:
        voice_id, properties = parse_voice(value)
        voice = self._voices.get(voice_id)
        if voice is None:
            settings = self._midi_of_declared.get(voice_id, self._settings)
            settings = replace(self._settings, program=settings.program, is_drum=settings.is_drum)
            voice = self._voices[voice_id] = Voice(settings, self._accidental_scope)
            declared = self._declared.get(voice_id, VoiceProperties())
            voice.properties = settings.voice.updated(declared)
        voice.properties = voice.properties.updated(properties)
        if voice.properties.name is not None:
            voice.properties = voice.properties._replace(name=_unescaped(voice.properties.name))
        if voice.properties.is_percussion:
            voice.is_drum = True
        return voice

    def _add_tempo(self, value: str, length: Fraction, time: Fraction) -> None:
        try:
            qpm = parse_tempo(value, length)
        except ValueError as error:
            self._add_error(f"{error} is not valid")
            return
        if qpm is not None:
            self.tune.tempos[time] = qpm

    def _read_directive(self, text: str) -> None:
        words = text.replace("=", " ").split()
        if words[:1] == ["propagate-accidentals"] and words[1:2]:
            self._set_accidental_scope(words[1])
        match = _MIDI.match(text)
        if match is None:
            return
        if match[1] == "nobarlines":
            self._set_accidental_scope("not")
        values = [int(number) for number in re.findall(r"-?\d{1,3}", match[2])]
        if not values:
            return
        self._apply_midi(match[1].lower(), values)

    def _set_accidental_scope(self, scope: str) -> None:
        self._accidental_scope = scope
        for voice in self._voices.values():
            voice.accidental_scope = scope

    def _apply_midi(self, command: str, numbers: list[int]) -> None:
        """Apply a %%MIDI directive to the current voice, or in the head to all voices."""
        changes: dict[str, object] = {}
        if command == "program" and 0 <= numbers[-1] <= 127:
            changes["program"] = numbers[-1]
        elif command == "channel":
            changes["is_drum"] = numbers[0] == _DRUM_CHANNEL
        elif command in {"transpose", "rtranspose"} and abs(numbers[0]) <= 60:
            self._transpose(numbers[0], is_relative=command == "rtranspose")
        if self._current is not None:
            for attribute, value in changes.items():
                setattr(self._current, attribute, value)
        elif self._head_voice is None:
            self._settings = replace(self._settings, **changes)  # type: ignore[arg-type]
        else:
            known = self._midi_of_declared.get(self._head_voice, self._settings)
            self._midi_of_declared[self._head_voice] = replace(known, **changes)  # type: ignore[arg-type]

    def _transpose(self, semitones: int, *, is_relative: bool) -> None:
        if self._current is not None:
            properties = self._current.properties
            before = (properties.transposition or 0) if is_relative else 0
            self._current.properties = properties._replace(transposition=before + semitones)
        else:
            properties = self._settings.voice
            before = (properties.transposition or 0) if is_relative else 0
            voice = properties._replace(transposition=before + semitones)
            self._settings = replace(self._settings, voice=voice)

    def _add_error(self, text: str) -> None:
        self._errors.append((self._line_number, text))


def _is_music(text: str) -> bool:
    return bool(text.strip()) and not text.startswith("%") and not is_field(text)


def _unescaped(text: str) -> str:
    r"""Return text with its ABC escapes (`\'e` for an accented e) as letters."""
    import unicodedata

    def letter(match: re.Match[str]) -> str:
        return unicodedata.normalize("NFC", match[2] + _ESCAPED_ACCENTS[match[1]])

    return re.sub(r"""\\([`'^~",=uvHcr])([A-Za-z])""", letter, text)
