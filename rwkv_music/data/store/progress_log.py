"""The progress log of a token store: one line of JSON per file, written after the file's tokens.

Whenever the process is killed, the tokens of every complete line are on disk. After a power failure
the last seconds may be missing or read as zeros; the records after the last sync mark are checked
against their hashes when the store is opened for writing again.
"""

import hashlib
import json
import re
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import UInt64

from rwkv_music.data.store.store_info import PROGRESS_NAME, SPLITS, progress_log_path
from rwkv_music.errors import InputError
from rwkv_music.old_names import STORE_RECORDS, renamed

Record = dict[str, Any]
"""What became of one file.

A piece has name, split, tokens, bars, sha256, size, mtime and optionally repairs. A skipped file
has name, reason, kind, size and mtime, and `detail`, a traceback, if the cause is a bug. Size and
time are those of the file.
"""

SYNCED: Record = {"synced": True}

State = Literal["new", "done", "changed piece", "changed skipped"]


def record_bytes(record: Record) -> bytes:
    """Return a record as a line of the log."""
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def read_progress_log(path: Path) -> Iterator[tuple[Record, int]]:
    """Yield every complete record and the byte offset behind it; stop at an incomplete line.

    Raises:
        InputError: If a line is JSON but not a record.
    """
    offset = 0
    with path.open("rb") as stream:
        for line_number, line in enumerate(stream, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except ValueError:
                return  # zeros after a power failure
            offset += len(line)
            if record != SYNCED:
                record = _checked(record, f"line {line_number} of {path}")
            yield record, offset


def _checked(record: Any, location: str) -> Record:  # noqa: ANN401 - any JSON value
    """Return a record under its current names.

    Raises:
        InputError: If it has not the fields of a record; `place` says where it is.
    """
    if isinstance(record, dict):
        current: Record = renamed(record, STORE_RECORDS)
        fields = _SKIPPED_FIELDS if "reason" in current else _PIECE_FIELDS
        if all(name in current and is_valid(current[name]) for name, is_valid in fields.items()):
            return current
    raise InputError(f"{location} is not a record of a file: prepare the store again")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_integer(value: object) -> bool:
    return isinstance(value, int)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < 1 << 31


def _is_split(value: object) -> bool:
    return value in SPLITS


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


_FILE_FIELDS = {"name": _is_name, "size": _is_integer, "mtime": _is_integer}
_PIECE_FIELDS = {
    **_FILE_FIELDS, "split": _is_split, "tokens": _is_count, "bars": _is_count,
    "sha256": _is_sha256,
}  # fmt: skip
_SKIPPED_FIELDS = {**_FILE_FIELDS, "reason": _is_text, "kind": _is_text}


def file_records(store: Path) -> Iterator[Record]:
    """Yield the current record of each file of a store, in the order of the log."""
    path = progress_log_path(store)
    last_skip: dict[int, int] = {}
    for line, (record, _) in enumerate(read_progress_log(path)):
        if "name" in record and "reason" not in record:
            last_skip.pop(_hash(record["name"]), None)
        elif "name" in record:
            last_skip[_hash(record["name"])] = line
    for line, (record, _) in enumerate(read_progress_log(path)):
        if "name" not in record:
            continue
        if "reason" not in record or last_skip.get(_hash(record["name"])) == line:
            yield record


class _Index(NamedTuple):
    names: UInt64[np.ndarray, " files"]
    """Hashes of names, sorted; of equal ones the last is current."""
    stamps: UInt64[np.ndarray, " files"]
    """Hashes of size and time."""
    is_piece: np.ndarray


class DoneFiles:
    """Files that need not be read again, at 17 bytes per file."""

    def __init__(self) -> None:
        self._names, self._stamps, self._is_piece = array("Q"), array("Q"), array("b")
        self._index: _Index | None = None

    def __len__(self) -> int:
        return len(self._names)

    def add(self, record: Record) -> None:
        """Add a file. A file that timed out is not added, so that it is tried again."""
        if record.get("kind") == "late":
            return
        self._names.append(_hash(record["name"]))
        self._stamps.append(_stamp(record["size"], record["mtime"]))
        self._is_piece.append("reason" not in record)
        self._index = None

    def state(self, name: str, size: int, mtime: int) -> State:
        """Return whether a file is done, and if so, whether it has changed since."""
        if self._index is None:
            self._index = self._sorted()
        names, stamps, is_piece = self._index
        name_hash = np.uint64(_hash(name))
        row = int(np.searchsorted(names, name_hash, side="right")) - 1
        if row < 0 or names[row] != name_hash:
            return "new"
        if int(stamps[row]) == _stamp(size, mtime):
            return "done"
        return "changed piece" if is_piece[row] else "changed skipped"

    def _sorted(self) -> _Index:
        names = np.array(self._names, dtype=np.uint64)
        order = np.argsort(names, kind="stable")
        stamps = np.array(self._stamps, dtype=np.uint64)
        return _Index(names[order], stamps[order], np.array(self._is_piece, dtype=bool)[order])


def _hash(text: str) -> int:
    encoded = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "little")


def _stamp(size: int, mtime: int) -> int:
    return _hash(f"{size} {mtime}")


_COUNTED = {"bin": "tokens", "bars": "bars"}
"""File type of a split -> the field of a record that says how much the piece adds to it."""


def recover(store: Path, itemsizes: Mapping[str, int]) -> tuple[DoneFiles, dict[str, int]]:
    """Find what a store contains for certain after an interruption of any kind.

    Args:
        store: Folder of the store.
        itemsizes: Bytes of a token ("bin") and of a bar ("bars").

    Returns:
        The files that are done, and the size to which each file of the store is to be truncated.
    """
    names = [*(f"{split}.{suffix}" for split in SPLITS for suffix in _COUNTED), PROGRESS_NAME]
    actual = {name: _size_of(store / name) for name in names}
    done, sizes = DoneFiles(), dict.fromkeys(names, 0)
    unsynced: list[tuple[Record, dict[str, int]]] = []
    for record, end in read_progress_log(store / PROGRESS_NAME) if actual[PROGRESS_NAME] else ():
        after = {**sizes, PROGRESS_NAME: end}
        if record == SYNCED:
            for synced, _ in unsynced:
                done.add(synced)
            unsynced.clear()
        else:
            for suffix, field in _COUNTED.items() if "split" in record else ():
                after[f"{record['split']}.{suffix}"] += record[field] * itemsizes[suffix]
            if any(after[name] > actual[name] for name in names):
                break
            unsynced.append((record, sizes))
        sizes = after
    for record, before in unsynced:
        if "split" in record and not _is_sound(store, record, before, itemsizes["bin"]):
            return done, before
        done.add(record)
    return done, sizes


def _is_sound(store: Path, record: Record, before: Mapping[str, int], itemsize: int) -> bool:
    """Return whether the tokens of a piece have the hash of its record."""
    name = f"{record['split']}.bin"
    with (store / name).open("rb") as stream:
        stream.seek(before[name])
        ids = stream.read(record["tokens"] * itemsize)
    same: bool = hashlib.sha256(ids).hexdigest() == record["sha256"]
    return same


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
