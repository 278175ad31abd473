"""Writing a token store: safe against being killed at any moment, and a full disk.

Tokens are appended first and the journal's lines behind them, so that a store opened again is cut
back to what the journal says and goes on from there. The indexes are made of the journal at the
end.
"""

import hashlib
import os
import time
from array import array
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from types import TracebackType

import numpy as np

from rwkv_music.atomic import write_atomic
from rwkv_music.data.pieces import is_held_out
from rwkv_music.data.scanning import FoundFile
from rwkv_music.data.store.binidx import index_bytes
from rwkv_music.data.store.progress_log import SYNCED, DoneFiles, Line, files_in, packed, recovered
from rwkv_music.data.store.store_info import (
    JOURNAL_NAME,
    MENDED_NAME,
    PIECE,
    SET_ASIDE_NAME,
    SIDES,
    StoreInfo,
    StoreLock,
    is_store,
)
from rwkv_music.errors import InputError
from rwkv_music.tokenizer.bar_index import BAR_ROW
from rwkv_music.worker_process import Failure

_FLUSH_SECONDS = 0.25
_FLUSH_BYTES = 4 << 20
_SYNC_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class EncodedPiece:
    """What a file becomes."""

    ids: bytes
    bar_index: bytes
    sha256: str
    """Of the ids: pieces with the same one are copies, and stand on one side."""
    mended: tuple[str, ...] = ()


class StoreWriter:
    """Adds files to a store, a new one or one that is there.

    Use it in a `with`: leaving it, also by an exception, writes what was added, and only `finish`
    makes a store that can be read.

    Args:
        path: The folder; made if need be.
        info: Of the store to be.

    Raises:
        InputError: If the folder holds a store of another tokenizer or split, or something else,
            is in use, or cannot be written.
    """

    def __init__(self, path: Path, info: StoreInfo) -> None:
        self.path = path
        self.info = info
        self.done = DoneFiles()
        self._itemsizes = {"bin": np.dtype(info.dtype).itemsize, "bars": BAR_ROW.itemsize}
        self._open: dict[str, FileIO] = {}
        self._waiting: dict[str, list[bytes]] = {}
        self._waiting_bytes = 0
        self._flushed = self._synced = time.monotonic()
        self._lock: StoreLock | None = None
        try:
            self._begin()
        except OSError as error:
            self._close()
            raise self._cannot_write(error) from error
        except InputError:
            self._close()
            raise

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if not isinstance(error, InputError) and not self.info.is_finished:
                self.flush()
                self._list_files()
        finally:
            self._close()

    def add(self, file: FoundFile, piece: EncodedPiece) -> None:
        """Take a piece in, on the side its content belongs to."""
        side = "valid" if is_held_out(piece.sha256, self.info.valid_share) else "train"
        line: Line = {
            "name": file.name,
            "side": side,
            "tokens": len(piece.ids) // self._itemsizes["bin"],
            "bars": len(piece.bar_index) // self._itemsizes["bars"],
            "sha256": piece.sha256,
            "size": file.size,
            "mtime": file.mtime,
        }
        if piece.mended:
            line["mended"] = piece.mended
        self._put(f"{side}.bin", piece.ids)
        self._put(f"{side}.bars", piece.bar_index)
        self._note(line)

    def set_aside(self, file: FoundFile, failure: Failure) -> None:
        """Note a file that cannot be used."""
        line: Line = {"name": file.name, "reason": failure.reason, "kind": failure.kind}
        if failure.detail:
            line["detail"] = failure.detail
        self._note({**line, "size": file.size, "mtime": file.mtime})

    def flush(self, *, sync: bool = False) -> None:
        """Hand everything to the system: from then on killing this process loses none of it.

        Args:
            sync: Have it written to the disk as well.

        Raises:
            InputError: If it cannot be written.
        """
        try:
            names = [*(name for name in self._waiting if name != JOURNAL_NAME), JOURNAL_NAME]
            for name in names:
                self._write(name, b"".join(self._waiting[name]))
                self._waiting[name].clear()
            self._flushed = time.monotonic()
            self._waiting_bytes = 0
            if sync:
                for name in names:
                    os.fsync(self._open[name].fileno())
                self._write(JOURNAL_NAME, packed(SYNCED))
                self._synced = time.monotonic()
        except OSError as error:
            raise self._cannot_write(error) from error

    def finish(self) -> StoreInfo:
        """Make the indexes; the store can be read then.

        Returns:
            The content of store.json.

        Raises:
            InputError: If they cannot be written.
        """
        self.flush(sync=True)
        try:
            tables = _Tables(self.info)
            for line in files_in(self.path / JOURNAL_NAME):
                tables.add(line)
            self._list_files()
            self.info = tables.write(self.path)
        except OSError as error:
            raise self._cannot_write(error) from error
        return self.info

    def _list_files(self) -> None:
        """Write down, for people, what was set aside and what was changed."""
        set_aside, mended = [], []
        for line in files_in(self.path / JOURNAL_NAME):
            if "reason" in line:
                set_aside.append(f"{line['name']}: {line['reason']}\n")
            elif "mended" in line:
                mended.append(f"{line['name']}: {'; '.join(line['mended'])}\n")
        try:
            for name, rows in ((SET_ASIDE_NAME, set_aside), (MENDED_NAME, mended)):
                write_atomic(self.path / name, "".join(rows).encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise self._cannot_write(error) from error

    def _begin(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        if is_store(self.path):
            before = StoreInfo.read(self.path)
            before.check_same(self.info, mine=str(self.path), theirs="this run")
            self.info = before
        elif strangers := sorted(each.name for each in self.path.iterdir()):
            raise InputError(
                f"{self.path} holds {strangers[0]} and is no token store: name an empty or a new "
                "folder"
            )
        self._lock = StoreLock(self.path)
        for left_over in self.path.glob("*.partial"):
            left_over.unlink()
        if not self.info.is_finished:
            self.info.write(self.path)
        self.done, sizes = recovered(self.path, self._itemsizes)
        for name, size in sizes.items():
            self._open[name] = (self.path / name).open("ab", buffering=0)
            self._open[name].truncate(size)
            self._waiting[name] = []

    def _put(self, name: str, content: bytes) -> None:
        self._waiting[name].append(content)
        self._waiting_bytes += len(content)

    def _note(self, line: Line) -> None:
        if self.info.is_finished:
            self.info = replace(self.info, is_finished=False)
            self.info.write(self.path)
        self._put(JOURNAL_NAME, packed(line))
        now = time.monotonic()
        if self._waiting_bytes > _FLUSH_BYTES or now - self._flushed > _FLUSH_SECONDS:
            self.flush(sync=now - self._synced > _SYNC_SECONDS)

    def _write(self, name: str, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            rest = rest[self._open[name].write(rest) :]

    def _cannot_write(self, error: OSError) -> InputError:
        return InputError(
            f"{self.path} cannot be written to ({error.strerror}): free some space or choose "
            "another place; the same command goes on from where it stopped"
        )

    def _close(self) -> None:
        for file in self._open.values():
            file.close()
        if self._lock is not None:
            self._lock.release()


class _Tables:
    """What the indexes of a store are made of, collected line by line."""

    def __init__(self, info: StoreInfo) -> None:
        self._info = info
        self._sizes = {side: array("i") for side in SIDES}
        self._bars = {side: array("I") for side in SIDES}
        self._hashes = {side: bytearray() for side in SIDES}
        self._names = {side: bytearray() for side in SIDES}
        self._set_aside = self._mended = 0

    def add(self, line: Line) -> None:
        """Take in a line about a file."""
        if "reason" in line:
            self._set_aside += 1
            return
        side = line["side"]
        self._mended += "mended" in line
        self._sizes[side].append(line["tokens"])
        self._bars[side].append(line["bars"])
        self._hashes[side] += bytes.fromhex(line["sha256"])
        self._names[side] += line["name"].encode("utf-8", "surrogatepass") + b"\0"

    def write(self, store: Path) -> StoreInfo:
        """Write all tables, and store.json last."""
        digest = hashlib.sha256()
        for side in SIDES:
            sizes = np.array(self._sizes[side], dtype=np.int32)
            pieces = np.zeros(len(sizes), dtype=PIECE)
            pieces["bars"] = self._bars[side]
            pieces["sha256"] = np.frombuffer(self._hashes[side], dtype="V32")
            write_atomic(store / f"{side}.idx", index_bytes(sizes, np.dtype(self._info.dtype)))
            write_atomic(store / f"{side}.pieces", pieces.tobytes())
            write_atomic(store / f"{side}.names", self._names[side])
            for content in (self._names[side], b"\0", self._hashes[side]):
                digest.update(content)
        # 64 of their 256 bits are enough to count copies.
        hashes = np.concatenate([np.frombuffer(each, "<u8")[::4] for each in self._hashes.values()])
        info = replace(
            self._info,
            is_finished=True,
            pieces={side: len(sizes) for side, sizes in self._sizes.items()},
            tokens={side: sum(sizes) for side, sizes in self._sizes.items()},
            bars={side: sum(bars) for side, bars in self._bars.items()},
            copies=len(hashes) - len(np.unique(hashes)),
            set_aside=self._set_aside,
            mended=self._mended,
            content_sha256=digest.hexdigest(),
        )
        info.write(store)
        return info
