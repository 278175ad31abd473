"""Read MIDI files with a strict parser, after repairing them if necessary.

symusic is the strict parser. It accepts some errors silently: a tempo of 0, time signatures without
length, keys that do not exist, fewer or more tracks than announced, and the tracks of format 2 on
top of one another. Such files are repaired as well. In other files it silently leaves out notes
that never end.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from rwkv_music.errors import ScoreFileError
from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.score.midi.repair import repair_midi

if TYPE_CHECKING:
    import symusic

MAX_MIDI_BYTES = 32 << 20
"""Larger files are rejected: no known music is larger, and reading takes memory and seconds."""

_HEADER_BYTES = 14

# Events that the strict parser accepts or misreads silently: a tempo of wrong size or of 0, invalid
# time and key signatures, and running status after a system-exclusive message. Other data may look
# the same by chance; the repair then changes nothing.
_SUSPICIOUS = re.compile(
    rb"\xff\x51(?:[^\x03]|\x03\x00\x00\x00)"
    rb"|\xff\x58(?:[^\x04]|\x04\x00|\x04.[\x08-\xff])"
    rb"|\xff\x59(?:[^\x02]|\x02[\x08-\xf8]|\x02.[^\x00\x01])"
    rb"|\xf0[\x80-\xff]{0,3}[\x00-\x7f]+\xf7[\x80-\xff]{0,3}[\x00-\x7f]{2}",
    re.DOTALL,
)


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
    if not _is_suspicious(midi):
        try:
            score = _read_strictly(midi, name)
        except ScoreFileError:
            score = None  # repaired or reported below
        if score is not None and score.note_num():
            return LoadedScore(score, reader="symusic")
    repaired = repair_midi(midi, name=name)
    score = _read_strictly(repaired.content if repaired.repairs else midi, name)
    if not score.note_num():
        damage = f"is damaged ({repaired.repairs[0]}) and " if repaired.repairs else ""
        raise ScoreFileError(
            name, f"{damage}contains no notes, at least 1 is needed: choose another file"
        )
    return LoadedScore(score, repaired.repairs, reader="symusic")


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
    if content[:4] == b"RIFF" and content[8:16] == b"RMIDdata":
        return content[20:]
    return content


def _check_size(midi: bytes, name: str | Path) -> None:
    if not midi:
        raise ScoreFileError(name, "is empty (0 bytes): copy it again")
    if len(midi) > MAX_MIDI_BYTES:
        raise ScoreFileError(
            name,
            f"has {len(midi)} bytes, at most {MAX_MIDI_BYTES} are supported: split it",
        )


def _is_suspicious(midi: bytes) -> bool:
    """Whether the strict parser would misread the file silently."""
    if midi[:4] != b"MThd" or len(midi) < _HEADER_BYTES:
        return True
    file_format, tracks, division = (
        int.from_bytes(midi[start : start + 2], "big") for start in (8, 10, 12)
    )
    if not division or division & 0x8000 or file_format > 1:
        return True
    return _count_tracks(midi) != tracks or _SUSPICIOUS.search(midi) is not None


def _count_tracks(midi: bytes) -> int:
    offset, tracks = 8 + int.from_bytes(midi[4:8], "big"), 0
    while offset + 8 <= len(midi):
        tracks += midi[offset : offset + 4] == b"MTrk"
        offset += 8 + int.from_bytes(midi[offset + 4 : offset + 8], "big")
    return tracks
