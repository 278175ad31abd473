"""Scores out of ABC notation, by way of the program abc2midi that symusic brings.

abc2midi knows most of ABC (repeats, which it plays, voices, tuplets, changes of meter and tempo),
music21 only the simplest tunes. It is started here and not by symusic: a wrong length lets it write
without end, so that its time and its output need limits. What it adds for listeners is taken away
again: chords spread over several ticks, accents on beats, notes that begin a tick late, and chord
symbols played as an accompaniment.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.errors import InputError, ScoreFileError
from rwkv_music.score.midi.midi_reader import read_midi

if TYPE_CHECKING:
    import symusic

_PLAINLY = ("%%MIDI chordattack 0", "%%MIDI nobeataccents")
_LATE_TICKS = 1
_TUNE = re.compile(r"^X:", re.MULTILINE)
_FAULT = re.compile(r"^Error in line-char (\d+)-\d+ : (.*)$", re.MULTILINE)
_VOICE = re.compile(r"\[?V:\s*([^\s\]]+)")
_NAME = re.compile(r"""\b(?:name|nm)\s*=\s*(?:"([^"]*)"|([^\s\]"]+))""")
_NO_MUSIC = re.compile(r"[A-Za-z+]:|%")
_VOICE_MARK = 85
"""A controller without meaning; its value says which voice became a track."""
_MOST_MARKED = 128
_PROGRAM = re.compile(r"%%MIDI\s+program\s+(?:\d+\s+)?(\d+)")
_CHANGE = re.compile(r"(\[[MK]:)")
_CHANGE_LINE = re.compile(r"^([MK]:[^%\n]*?)\s*(?:%.*)?$")
_MOST_READ_OF_LOG = 1 << 16


def read_abc(text: str, *, seconds: float) -> "tuple[symusic.Score, tuple[str, ...]]":
    """The first tune of an ABC file, and what was passed over.

    Args:
        text: The whole file.
        seconds: After which reading is given up.

    Raises:
        InputError: If it holds no tune, or no notes, or takes too long.
    """
    tunes = list(_TUNE.finditer(text))
    if not tunes:
        raise InputError("holds no tune (no line begins with X:): choose another file")
    begin = tunes[0].start()
    head, _, body = text[begin:].partition("\n")
    before = text[:begin].count("\n") + 1
    marked, names = _with_marks(_with_changes_in_place(body))
    prepared = "\n".join((text[:begin] + head, *_PLAINLY, marked))
    midi, log = _convert(prepared, seconds)
    faults = [
        (_line_in_file(int(found[1]), before), " ".join(found[2].split()))
        for found in _FAULT.finditer(log)
    ]
    told = []
    if faults:
        line, reason = faults[0]
        told.append(f"{len(faults)} faults passed over, the first in line {line}: {reason}")
    if len(tunes) > 1:
        told.append(f"holds {len(tunes)} tunes, the first one was read")
    if midi is None:
        raise InputError(f"is no ABC that abc2midi can read ({'; '.join(told)}): correct it")
    try:
        loaded = read_midi(midi, name="the tune")
    except ScoreFileError as error:
        raise InputError(f"its tune {error.reason}") from error
    if names:
        _name_tracks(loaded.score, names)
    return _on_time(loaded.score), (*told, *loaded.repairs)


def _with_changes_in_place(body: str) -> str:
    """State the program in force before each change of meter or key.

    abc2midi writes such a change before the rests that it follows, unless something else that it
    has to write stands between.
    """
    programs: dict[str, str] = {}
    voice = ""
    is_head = True
    lines = []
    for line in body.split("\n"):
        if found := _VOICE.match(line):
            voice = found[1]
        elif found := _PROGRAM.match(line):
            programs["" if is_head else voice] = found[1]
        elif not is_head:
            program = programs.get(voice, programs.get("", "0"))
            whole = _CHANGE_LINE.sub(r"[\1]", line)
            lines.append(_CHANGE.sub(rf"[I:MIDI program {program}]\1", whole))
            continue
        is_head = is_head and not line.startswith("K:")
        lines.append(line)
    return "\n".join(lines)


def _with_marks(body: str) -> tuple[str, list[str]]:
    """Mark the track of each voice with its number, and give the names of the voices.

    Marks stand in lines of music, so that faults are told by the lines of the file.
    """
    names: dict[str, str] = {}
    numbers: dict[str, int] = {}
    mark = ""
    is_head = True
    lines = []
    for line in body.split("\n"):
        if found := _VOICE.match(line):
            voice = found[1]
            if name := _NAME.search(line):
                names[voice] = name[1] or name[2] or ""
            if not is_head and voice not in numbers and len(numbers) < _MOST_MARKED:
                numbers[voice] = len(numbers)
                mark = f"[I:MIDI control {_VOICE_MARK} {numbers[voice]}]"
        is_head = is_head and not line.startswith("K:")
        is_music = bool(line.strip()) and not _NO_MUSIC.match(line)
        place = line.find("]") + 1 if line.startswith("[V:") else 0
        lines.append(line[:place] + mark + line[place:] if is_music else line)
        mark = "" if is_music else mark
    return "\n".join(lines), [names.get(voice, "") for voice in numbers]


def _name_tracks(score: "symusic.Score", names: Sequence[str]) -> None:
    """Call the marked tracks by the names of their voices, and take the marks away."""
    for track in score.tracks:
        marks = [each for each in track.controls if each.number == _VOICE_MARK]
        if marks:
            track.name = names[marks[0].value]
            track.controls = [each for each in track.controls if each.number != _VOICE_MARK]


def _line_in_file(line: int, before: int) -> int:
    return line - len(_PLAINLY) if line > before else line


def _convert(text: str, seconds: float) -> tuple[bytes | None, str]:
    """The MIDI file that abc2midi makes, if any, and what it says."""
    import symusic

    assert symusic.__version__  # its import tells where abc2midi is
    with tempfile.TemporaryDirectory() as folder:
        source, target, log = (Path(folder) / name for name in ("tune.abc", "tune.mid", "log"))
        source.write_text(text, encoding="utf-8")
        command = [os.environ["SYMUSIC_ABC2MIDI"], str(source), "-NGUI", "-o", str(target)]
        with log.open("wb") as said:
            try:
                subprocess.run(
                    command, stdout=said, stderr=subprocess.STDOUT, timeout=seconds, check=False
                )
            except subprocess.TimeoutExpired as error:
                raise InputError(
                    f"takes more than {seconds:g} s in abc2midi: correct it or convert it elsewhere"
                ) from error
        with log.open("rb") as said:
            words = said.read(_MOST_READ_OF_LOG).decode(errors="replace")
        return target.read_bytes() if target.exists() else None, words


def _on_time(score: "symusic.Score") -> "symusic.Score":
    """Undo the tick by which notes begin late; they end where they should."""
    for track in score.tracks:
        for note in track.notes:
            late = min(_LATE_TICKS, note.time)
            note.time -= late
            note.duration += late
        _move(track.lyrics)
    for events in (score.tempos, score.time_signatures, score.key_signatures, score.markers):
        _move(events)
    return score


def _move(events: Any) -> None:  # noqa: ANN401 - one of symusic's lists
    """Put events back that stand behind late notes.

    Only those whose tick no usual length explains: quarters have 480 ticks, so that all but
    septuplets fall on multiples of 5.
    """
    for event in events:
        if event.time % 5 == _LATE_TICKS:
            event.time -= _LATE_TICKS
