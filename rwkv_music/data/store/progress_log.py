"""The journal of a token store: one line of JSON a file, written behind the tokens it speaks of.

So whatever a line says is there, at whatever moment the process was killed. After a power cut the
last seconds may be missing or be zeros: the lines behind the last word "synced" are checked against
the hashes in them when a store is opened for writing again.
"""

import hashlib
import json
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import UInt64

from rwkv_music.data.store.store_info import JOURNAL_NAME, SIDES

Line = dict[str, Any]
"""A piece has name, side, tokens, bars, sha256, size, mtime and perhaps mended; a file that was set
aside has name, reason, kind, size and mtime, and detail, a traceback, if a bug is to
blame. Size and time are those of the file."""

SYNCED: Line = {"synced": True}

State = Literal["new", "done", "changed piece", "changed set aside"]


def packed(line: Line) -> bytes:
    """A line as bytes."""
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def read_journal(path: Path) -> Iterator[tuple[Line, int]]:
    """Every whole line and the byte behind it; ends before a line that was cut."""
    place = 0
    with path.open("rb") as stream:
        for text in stream:
            if not text.endswith(b"\n"):
                return
            try:
                line = json.loads(text)
            except ValueError:
                return  # zeros, after a power cut
            place += len(text)
            yield line, place


def files_in(path: Path) -> Iterator[Line]:
    """The lines about files, for each file the last one."""
    last: dict[int, int] = {}
    for place, (line, _) in enumerate(read_journal(path)):
        if "name" in line and "reason" not in line:
            last.pop(_hash(line["name"]), None)
        elif "name" in line:
            last[_hash(line["name"])] = place
    for place, (line, _) in enumerate(read_journal(path)):
        if "name" in line and ("reason" not in line or last.get(_hash(line["name"])) == place):
            yield line


class _Known(NamedTuple):
    names: UInt64[np.ndarray, " files"]
    """Hashes of names, sorted; of equal ones the last counts."""
    stamps: UInt64[np.ndarray, " files"]
    """Hashes of size and time."""
    is_piece: np.ndarray


class DoneFiles:
    """Which files need not be read again, in 17 bytes each."""

    def __init__(self) -> None:
        self._names, self._stamps, self._is_piece = array("Q"), array("Q"), array("b")
        self._known: _Known | None = None

    def __len__(self) -> int:
        return len(self._names)

    def add(self, line: Line) -> None:
        """Take note of a line about a file; one that was late gets another chance."""
        if line.get("kind") == "late":
            return
        self._names.append(_hash(line["name"]))
        self._stamps.append(_stamp(line["size"], line["mtime"]))
        self._is_piece.append("reason" not in line)
        self._known = None

    def state(self, name: str, size: int, mtime: int) -> State:
        """What is known of a file that is there now."""
        if self._known is None:
            self._known = self._sorted()
        known = self._known
        wanted = np.uint64(_hash(name))
        place = int(np.searchsorted(known.names, wanted, side="right")) - 1
        if place < 0 or known.names[place] != wanted:
            return "new"
        if int(known.stamps[place]) == _stamp(size, mtime):
            return "done"
        return "changed piece" if known.is_piece[place] else "changed set aside"

    def _sorted(self) -> _Known:
        names = np.array(self._names, dtype=np.uint64)
        order = np.argsort(names, kind="stable")
        stamps = np.array(self._stamps, dtype=np.uint64)
        return _Known(names[order], stamps[order], np.array(self._is_piece, dtype=bool)[order])


def _hash(text: str) -> int:
    packed_text = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(packed_text, digest_size=8).digest(), "little")


def _stamp(size: int, mtime: int) -> int:
    return _hash(f"{size} {mtime}")


_KINDS = {"bin": "tokens", "bars": "bars"}
"""What a piece adds to, and by which number of its line."""


def recovered(store: Path, itemsizes: Mapping[str, int]) -> tuple[DoneFiles, dict[str, int]]:
    """What a store holds for certain, whatever happened to it.

    Args:
        store: The folder.
        itemsizes: Bytes of a token ("bin") and of a bar ("bars").

    Returns:
        The files that are done, and the size to which each file of the store is to be cut.
    """
    names = [*(f"{side}.{kind}" for side in SIDES for kind in _KINDS), JOURNAL_NAME]
    there = {name: _size_of(store / name) for name in names}
    done, sizes = DoneFiles(), dict.fromkeys(names, 0)
    unsure: list[tuple[Line, dict[str, int]]] = []
    for line, behind in read_journal(store / JOURNAL_NAME) if there[JOURNAL_NAME] else ():
        after = {**sizes, JOURNAL_NAME: behind}
        if line == SYNCED:
            for known, _ in unsure:
                done.add(known)
            unsure.clear()
        else:
            for kind, counted in _KINDS.items() if "side" in line else ():
                after[f"{line['side']}.{kind}"] += line[counted] * itemsizes[kind]
            if any(after[name] > there[name] for name in names):
                break
            unsure.append((line, sizes))
        sizes = after
    for line, before in unsure:
        if "side" in line and not _is_sound(store, line, before, itemsizes["bin"]):
            return done, before
        done.add(line)
    return done, sizes


def _is_sound(store: Path, line: Line, before: Mapping[str, int], itemsize: int) -> bool:
    """Whether a piece's tokens are what its hash says."""
    name = f"{line['side']}.bin"
    with (store / name).open("rb") as stream:
        stream.seek(before[name])
        ids = stream.read(line["tokens"] * itemsize)
    same: bool = hashlib.sha256(ids).hexdigest() == line["sha256"]
    return same


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
