"""MIDI files in and out, with one kind of error.

What a parser would trip over is looked at first, so that the message can say what is wrong. Notes
that a file begins and never ends are left out by the parser.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rwkv_music.errors import ScoreFileError

if TYPE_CHECKING:
    import symusic

_SUFFIXES = (".mid", ".midi", ".kar", ".rmi")
_HEADER_BYTES = 14


def load_score(path: str | Path) -> "symusic.Score":
    """Read a MIDI file.

    Args:
        path: A file ending in .mid, .midi, .kar or .rmi.

    Returns:
        The score in ticks, with at least one note.

    Raises:
        ScoreFileError: If the file is missing, empty, damaged, of another format, timed in SMPTE
            frames, or holds no notes.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise ScoreFileError(
            path, f"the ending '{path.suffix}' is none of {', '.join(_SUFFIXES)}: export it as MIDI"
        )
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ScoreFileError(path, "there is no such file: check the path") from None
    except OSError as error:
        raise ScoreFileError(path, f"cannot be read ({error.strerror}): check the file") from error
    return score_from_bytes(content, name=path)


def score_from_bytes(content: bytes, *, name: str | Path) -> "symusic.Score":
    """Read the bytes of a MIDI file.

    Args:
        content: The whole file.
        name: What to call it in an error.

    Raises:
        ScoreFileError: As `load_score`.
    """
    import symusic

    midi = _unwrap_riff(content)
    _check_header(midi, name)
    try:
        score = symusic.Score.from_midi(midi)
    except (RuntimeError, ValueError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ScoreFileError(
            name, f"is damaged ({reason}): open it in a music program and export it again"
        ) from error
    if not score.note_num():
        raise ScoreFileError(name, "holds no notes, at least 1 is needed: choose another file")
    return score


def _unwrap_riff(content: bytes) -> bytes:
    """The MIDI data inside an .rmi file; any other content as it is."""
    if content[:4] == b"RIFF" and content[8:16] == b"RMIDdata":
        return content[20:]
    return content


def _check_header(midi: bytes, name: str | Path) -> None:
    if not midi:
        raise ScoreFileError(name, "is empty (0 bytes): copy it again")
    if midi[:4] != b"MThd":
        raise ScoreFileError(name, "is not a MIDI file (it does not begin with MThd): export it")
    if len(midi) < _HEADER_BYTES:
        raise ScoreFileError(
            name,
            f"is truncated ({len(midi)} bytes, a header alone has {_HEADER_BYTES}): copy it again",
        )
    division = int.from_bytes(midi[12:14], "big")
    if division & 0x8000:
        raise ScoreFileError(
            name,
            "counts time in SMPTE frames, which have no bars and beats: export it with ticks per "
            "quarter note",
        )
    if not division:
        raise ScoreFileError(name, "has 0 ticks per quarter note, at least 1 is needed: export it")


def save_score(score: "symusic.Score", path: str | Path) -> Path:
    """Write a score as a MIDI file: aside first, then renamed, so that no half file is left.

    Args:
        score: In ticks.
        path: Ends in .mid or .midi; missing folders are made.

    Raises:
        ScoreFileError: If the place cannot be written to or the ending is another one.
    """
    path = Path(path)
    if path.suffix.lower() not in {".mid", ".midi"}:
        raise ScoreFileError(path, f"the ending '{path.suffix}' is none of .mid, .midi: change it")
    content = score.dumps_midi()
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise ScoreFileError(
            path, f"cannot be written ({error.strerror}): choose another place"
        ) from error
    return path
