"""Sessions on disk: `song.rwkvmusic`, a zip archive of one JSON file and one MIDI file per score.

session.json holds {"format": "rwkvmusic", "version": 1, "current": 2, "nodes": [...]}. Node i is
the score node-i.mid and an entry with its parent, the tick at which its newest bars begin, and the
settings that made it; for bars that were written anew also the tick at which they end and the
indices of their tracks, among those with notes; and "discarded": true if it was discarded. Any zip
program opens the file. Sessions of earlier versions are folders with the same files.
"""

import json
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from rwkv_music.atomic import write_atomic
from rwkv_music.errors import InputError, write_errors
from rwkv_music.old_names import SESSION_NODES, renamed

if TYPE_CHECKING:
    import symusic

SUFFIX = ".rwkvmusic"
VERSION = 1
_FORMAT = "rwkvmusic"
_FILE = "session.json"
_MAX_BYTES = 2**28
"""A member that is larger when unpacked is refused."""


def write_session(
    path: Path, current: int, rows: list[dict[str, Any]], scores: "list[symusic.Score]"
) -> None:
    """Write a session; an existing file is replaced, atomically.

    Args:
        path: The file. Without the suffix .rwkvmusic, or where a folder of that name exists, a
            folder is written.
        current: Index of the current node.
        rows: What session.json says about each node.
        scores: Score of each node.

    Raises:
        InputError: If the file cannot be written.
    """
    from rwkv_music.score.midi.midi_writer import to_midi

    head = {"format": _FORMAT, "version": VERSION, "current": current, "nodes": rows}
    text = (json.dumps(head, indent=1) + "\n").encode()
    members = {f"node-{index}.mid": to_midi(score) for index, score in enumerate(scores)}
    members[_FILE] = text
    with write_errors(path):
        if path.suffix == SUFFIX and not path.is_dir():
            write_atomic(path, _archive(members))
            return
        path.mkdir(parents=True, exist_ok=True)
        for name, content in members.items():
            write_atomic(path / name, content)


def read_session(path: Path) -> "tuple[int, list[dict[str, Any]], list[symusic.Score]]":
    """Return the current node's index, the entries of the nodes, and their scores.

    Raises:
        InputError: If the file holds no session, is damaged, or was made by a newer version.
    """
    from rwkv_music.score import score_from_bytes

    members = _read_folder(path) if path.is_dir() else _read_archive(path)
    if _FILE not in members:
        raise InputError(f"{path} holds no session (no {_FILE}): check the path")
    try:
        head = json.loads(members[_FILE])
        version = head.get("version", VERSION)
        current, rows = head["current"], [renamed(row, SESSION_NODES) for row in head["nodes"]]
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {_FILE} cannot be read ({error})") from error
    if version > VERSION:
        raise InputError(
            f"{path} has version {version}, this program reads up to {VERSION}: update rwkv-music"
        )
    missing = [f"node-{i}.mid" for i in range(len(rows)) if f"node-{i}.mid" not in members]
    if missing or not 0 <= current < len(rows):
        raise InputError(f"{path} is damaged: {(missing or ['the current node'])[0]} is missing")
    scores = [
        score_from_bytes(members[f"node-{index}.mid"], name=f"{path}/node-{index}.mid")
        for index in range(len(rows))
    ]
    return current, rows, scores


def _archive(members: dict[str, bytes]) -> bytes:
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError)
"""Errors with which reading a damaged archive fails. OSError: a member that begins before the
file. RuntimeError: encryption; its subclass NotImplementedError: a compression or version that
zipfile does not know."""


def _read_archive(path: Path) -> dict[str, bytes]:
    if not path.exists():
        raise InputError(f"{path} holds no session (no such file): check the path")
    # Opened first: a file that may not be read is another problem than a damaged one.
    with path.open("rb") as stream:
        return _members(stream, path)


def _members(stream: BinaryIO, path: Path) -> dict[str, bytes]:
    """Return the members of an archive; `path` is for messages."""
    try:
        with zipfile.ZipFile(stream) as archive:
            large = [
                member.filename for member in archive.infolist() if member.file_size > _MAX_BYTES
            ]
            if large:
                raise InputError(f"{path} is damaged: {large[0]} is larger than {_MAX_BYTES} bytes")
            return {name: archive.read(name) for name in archive.namelist()}
    except _DAMAGE as error:
        raise InputError(f"{path} holds no session (not a complete zip file): {error}") from error


def _read_folder(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
