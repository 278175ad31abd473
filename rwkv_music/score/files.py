"""Read and write music files; every failure is a `ScoreFileError`.

MIDI and ABC are read in this process. Other formats are read in a worker process with a time limit
of one minute, because their parsers cannot be interrupted.
"""

import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from rwkv_music.atomic import write_atomic
from rwkv_music.errors import InputError, ScoreFileError, write_problem
from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.score.midi.midi_reader import read_midi
from rwkv_music.score.midi.midi_writer import to_midi
from rwkv_music.score.timing import num_bars
from rwkv_music.score.validation import check_score

if TYPE_CHECKING:
    import symusic

MIDI_SUFFIXES = (".mid", ".midi", ".kar", ".rmi")
TEXT_FORMATS = {
    ".musicxml": "musicxml", ".xml": "musicxml", ".mxl": "musicxml", ".abc": "abc",
    ".krn": "humdrum",
}  # fmt: skip
"""File name suffixes of the text formats, and the names of the formats."""
READABLE_SUFFIXES = (*MIDI_SUFFIXES, *TEXT_FORMATS)
_HEAD_BYTES = 4096
MAX_FILE_BYTES = 32 << 20
"""Larger files are refused before they are read."""
WRITABLE_SUFFIXES = (".mid", ".midi", ".musicxml", ".xml", ".mxl", ".abc")


def load_score(path: str | Path, *, unfold_repeats: bool = False) -> "symusic.Score":
    """Read a music file. `read_score` also returns what was repaired.

    Args:
        path: A .mid, .midi, .kar or .rmi file (MIDI formats 0, 1 and 2), a .musicxml, .xml or .mxl
            file (MusicXML), an .abc file or a .krn file (Humdrum).
        unfold_repeats: Play the repeats, endings and jumps (da capo, dal segno) of MusicXML and
            ABC, the parts of ABC, and the repeats or labelled sections of Humdrum. MIDI has none.

    Returns:
        The score in ticks, with at least one note. The pieces of a MIDI file of format 2 are
        concatenated. Of a file with several tunes the first one is read.

    Raises:
        ScoreFileError: If the file is missing, empty, damaged beyond repair, of another format,
            takes longer than a minute, contains no notes, or has more than 250,000 bars.
    """
    return read_score(path, unfold_repeats=unfold_repeats).score


def read_score(path: str | Path, *, unfold_repeats: bool = False) -> LoadedScore:
    """Read a music file and report how it was read.

    Args:
        path: As for `load_score`.
        unfold_repeats: As for `load_score`.

    Returns:
        The score, its repairs, the reader, and the number of notes in the file.

    Raises:
        ScoreFileError: As `load_score`.
    """
    path = Path(path)
    _check_suffix(path, READABLE_SUFFIXES)
    try:
        status = path.stat()
        # Reading from a pipe or a device could block forever.
        if not stat.S_ISREG(status.st_mode):
            raise ScoreFileError(path, "is a folder or a device, not a file: give a file")
        if status.st_size > MAX_FILE_BYTES:
            raise ScoreFileError(
                path, f"has {status.st_size} bytes, at most {MAX_FILE_BYTES} are read: split it"
            )
        content = path.read_bytes()
    except ScoreFileError:
        raise
    except FileNotFoundError:
        raise ScoreFileError(path, "file not found: check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ScoreFileError(path, f"cannot be read ({reason}): check the file") from error
    return _read_bytes(content, name=path, unfold_repeats=unfold_repeats)


def score_from_bytes(
    content: bytes, *, name: str | Path, unfold_repeats: bool = False
) -> "symusic.Score":
    """Read the bytes of a music file.

    Args:
        content: The whole file.
        name: Name used in errors. Its suffix selects the format; MIDI if the suffix is unknown.
        unfold_repeats: As for `load_score`.

    Raises:
        ScoreFileError: As `load_score`.
    """
    return _read_bytes(content, name=name, unfold_repeats=unfold_repeats).score


def _read_bytes(content: bytes, *, name: str | Path, unfold_repeats: bool) -> LoadedScore:
    loaded = _parse_bytes(content, name=name, unfold_repeats=unfold_repeats)
    try:
        num_bars(loaded.score)
    except InputError as error:
        raise ScoreFileError(name, str(error)) from error
    return loaded


def _parse_bytes(content: bytes, *, name: str | Path, unfold_repeats: bool) -> LoadedScore:
    text_format = _format_of(content, Path(name).suffix.lower())
    if text_format is None:
        return read_midi(content, name=name)
    if text_format == "abc":
        from rwkv_music.score.abc.abc_reader import read_abc

        return read_abc(content, name=name, unfold_repeats=unfold_repeats)
    from rwkv_music.score.worker import read_notation

    return read_notation(content, text_format, name=name, unfold_repeats=unfold_repeats)


def _format_of(content: bytes, suffix: str) -> str | None:
    """Text format of a file; None for MIDI. Unmistakable content counts more than the ending."""
    if content[:4] == b"MThd" or (content[:4] == b"RIFF" and content[8:12] == b"RMID"):
        return None
    if content[:4] == b"PK\x03\x04":
        return "musicxml"
    head = content[:_HEAD_BYTES].replace(b"\0", b"")
    if b"<score-partwise" in head or b"<score-timewise" in head:
        return "musicxml"
    if re.search(rb"^\*\*kern\b", head, re.MULTILINE):
        return "humdrum"
    return TEXT_FORMATS.get(suffix)


def save_score(score: "symusic.Score", path: str | Path) -> Path:
    """Write a score to a file atomically.

    MIDI keeps everything. Notation (MusicXML, ABC) is meant for reading: onsets and ends are
    rounded to 32nds and triplet 16ths. MusicXML keeps parts, notes, velocities, tempos, time
    signatures, keys, markers, the pedal as down or up, and lyrics under notes. ABC keeps no
    velocities, pedals, markers, lyrics or fractions of a tempo. Neither keeps other controllers and
    pitch bends.

    Args:
        score: In ticks.
        path: A .mid, .midi, .musicxml, .xml, .mxl or .abc file. Missing folders are created.

    Raises:
        ScoreFileError: If the file cannot be written, or the suffix is unknown.
        InputError: If a value of the score is out of range.
    """
    path = Path(path)
    _check_suffix(path, WRITABLE_SUFFIXES)
    check_score(score)
    content = _file_content(score, path)
    try:
        write_atomic(path, content)
    except OSError as error:
        raise ScoreFileError(path, write_problem(error)) from error
    return path


def _file_content(score: "symusic.Score", path: Path) -> bytes:
    text_format = TEXT_FORMATS.get(path.suffix.lower())
    if text_format is None:
        return to_midi(score)
    if text_format == "abc":
        from rwkv_music.score.abc.abc_writer import to_abc

        return to_abc(score, title=path.stem).encode()
    from rwkv_music.score.musicxml.musicxml_writer import to_musicxml, zipped

    text = to_musicxml(score, title=path.stem)
    return zipped(text) if path.suffix.lower() == ".mxl" else text


def _check_suffix(path: Path, known: tuple[str, ...]) -> None:
    if path.suffix.lower() not in known:
        suffix = f"the suffix '{path.suffix}'" if path.suffix else "a name without a suffix"
        raise ScoreFileError(path, f"{suffix} is not supported: use one of {', '.join(known)}")
