"""Read MIDI files.

Ordinary files are parsed by symusic. It silently misreads others: tempos of 0, invalid signatures,
wrong track counts and format 2; programs set in another track, rhythm parts of GS and XG, notes
ended by controllers, notes that never end, text that is not UTF-8, and lyrics. A scan finds those
files; they are read event by event, and repaired if necessary. The scan also counts the notes,
independently of symusic.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from rwkv_music.errors import ScoreFileError
from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.score.midi.repair import MAX_REPAIR_BYTES, parse_midi
from rwkv_music.score.midi.scan import scan_midi
from rwkv_music.score.midi.score_builder import build_score

if TYPE_CHECKING:
    import symusic

MAX_MIDI_BYTES = 32 << 20
"""Larger files are rejected: no known music is larger, and reading takes memory and seconds."""


def read_midi(content: bytes, *, name: str | Path) -> LoadedScore:
    """Read the bytes of a MIDI file.

    Args:
        content: The whole file.
        name: Name used in errors.

    Raises:
        ScoreFileError: If the file cannot be read or repaired, or contains no notes.
    """
    midi = _unwrap_riff(content)
    _check_size(midi, name)
    scan = scan_midi(midi)
    if scan.is_plain:
        try:
            score = _read_strictly(midi, name)
        except ScoreFileError:
            score = None  # repaired or reported below
        if score is not None and score.note_num() == scan.num_notes > 0:
            return LoadedScore(score, reader="symusic", notes_in_source=scan.num_notes)
    elif len(midi) > MAX_REPAIR_BYTES:
        return _read_large(midi, name)
    built = build_score(parse_midi(midi, name=name))
    if not built.score.note_num():
        damage = f"is damaged ({built.repairs[0]}) and " if built.repairs else ""
        raise ScoreFileError(
            name, f"{damage}contains no notes, at least 1 is needed: choose another file"
        )
    return LoadedScore(
        built.score, built.repairs, reader="rwkv-music", notes_in_source=built.num_notes
    )


def _read_large(midi: bytes, name: str | Path) -> LoadedScore:
    """Read a file that is too large to be read event by event."""
    score = _read_strictly(midi, name)
    if not score.note_num():
        raise ScoreFileError(name, "contains no notes, at least 1 is needed: choose another file")
    repairs = (f"larger than {MAX_REPAIR_BYTES} bytes: not checked for errors",)
    return LoadedScore(score, repairs, reader="symusic")


def _read_strictly(midi: bytes, name: str | Path) -> "symusic.Score":
    import symusic

    try:
        return symusic.Score.from_midi(midi)
    except (RuntimeError, ValueError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ScoreFileError(
            name, f"is damaged ({reason}): open it in a music program and export it again"
        ) from error


def _unwrap_riff(content: bytes) -> bytes:
    """Return the MIDI data inside an .rmi file; any other content unchanged."""
    if content[:4] != b"RIFF" or content[8:12] != b"RMID":
        return content
    offset = 12
    while offset + 8 <= len(content):
        begin = offset + 8
        end = begin + int.from_bytes(content[offset + 4 : begin], "little")
        if content[offset : offset + 4] == b"data":
            return content[begin:end]
        offset = end + end % 2  # chunks begin at even offsets
    return content


def _check_size(midi: bytes, name: str | Path) -> None:
    if not midi:
        raise ScoreFileError(name, "is empty (0 bytes): copy it again")
    if len(midi) > MAX_MIDI_BYTES:
        raise ScoreFileError(
            name,
            f"has {len(midi)} bytes, at most {MAX_MIDI_BYTES} are supported: split it",
        )
