"""Write a token store such that a kill at any moment or a full disk loses nothing that was done.

Tokens are appended first, the lines of the progress log after them. A store that is opened again is
truncated to what the log lists, and continues from there. The tables are made from the log at the
end.
"""

import os
import time
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from types import TracebackType

import numpy as np

from rwkv_music.atomic import write_atomic
from rwkv_music.data.pieces import is_held_out
from rwkv_music.data.scanning import FoundFile
from rwkv_music.data.store.checksums import APPENDED_FILES, verify
from rwkv_music.data.store.progress_log import (
    SYNCED,
    DoneFiles,
    Record,
    file_records,
    record_bytes,
    recover,
)
from rwkv_music.data.store.store_info import (
    PROGRESS_NAME,
    REPAIRED_NAME,
    SKIPPED_NAME,
    StoreInfo,
    is_store,
    rename_old_files,
)
from rwkv_music.data.store.store_lock import StoreLock
from rwkv_music.data.store.store_tables import StoreTables
from rwkv_music.errors import InputError, write_problem
from rwkv_music.printable import printable
from rwkv_music.tokenizer.bar_index import BAR_ROW
from rwkv_music.worker_process import Failure

_FLUSH_SECONDS = 0.25
_FLUSH_BYTES = 4 << 20
_SYNC_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class EncodedPiece:
    """An encoded file."""

    ids: bytes
    bar_index: bytes
    sha256: str
    """Hash of the ids. Pieces with the same hash are copies and belong to one split."""
    repairs: tuple[str, ...] = ()


class StoreWriter:
    """Adds files to a new or existing store.

    Use it in a `with` block: leaving the block, also by an exception, writes what was added. Only
    `finish` makes a store that can be read.

    Args:
        path: Folder of the store; created if it is missing.
        info: Content of store.json for a new store.

    Raises:
        InputError: If the folder contains a store of another tokenizer or split, or something else,
            is in use, or cannot be written.
    """

    def __init__(self, path: Path, info: StoreInfo) -> None:
        self.path = path
        self.info = info
        self.done = DoneFiles()
        self._itemsizes = {"bin": np.dtype(info.dtype).itemsize, "bars": BAR_ROW.itemsize}
        self._open: dict[str, FileIO] = {}
        self._pending: dict[str, list[bytes]] = {}
        self._pending_bytes = 0
        self._flushed = self._synced = time.monotonic()
        self._lock: StoreLock | None = None
        try:
            self._begin()
        except OSError as error:
            self._close()
            raise self._write_error(error) from error
        except InputError:
            self._close()
            raise

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if not isinstance(error, InputError) and not self.info.is_finished:
                self.flush()
                self._write_lists()
        finally:
            self._close()

    def add(self, file: FoundFile, piece: EncodedPiece) -> None:
        """Add a piece to the split that the hash of its content selects."""
        split = "valid" if is_held_out(piece.sha256, self.info.valid_fraction) else "train"
        record: Record = {
            "name": file.name,
            "split": split,
            "tokens": len(piece.ids) // self._itemsizes["bin"],
            "bars": len(piece.bar_index) // self._itemsizes["bars"],
            "sha256": piece.sha256,
            "size": file.size,
            "mtime": file.mtime,
        }
        if piece.repairs:
            record["repairs"] = piece.repairs
        self._put(f"{split}.bin", piece.ids)
        self._put(f"{split}.bars", piece.bar_index)
        self._log(record)

    def skip(self, file: FoundFile, failure: Failure) -> None:
        """Record a file that cannot be used."""
        record: Record = {"name": file.name, "reason": failure.reason, "kind": failure.kind}
        if failure.detail:
            record["detail"] = failure.detail
        self._log({**record, "size": file.size, "mtime": file.mtime})

    def flush(self, *, sync: bool = False) -> None:
        """Pass everything to the operating system, so that a kill of this process loses nothing.

        Args:
            sync: Whether to wait until it is on the disk.

        Raises:
            InputError: If it cannot be written.
        """
        try:
            names = [*(name for name in self._pending if name != PROGRESS_NAME), PROGRESS_NAME]
            for name in names:
                self._write(name, b"".join(self._pending[name]))
                self._pending[name].clear()
            self._flushed = time.monotonic()
            self._pending_bytes = 0
            if sync:
                for name in names:
                    os.fsync(self._open[name].fileno())
                self._write(PROGRESS_NAME, record_bytes(SYNCED))
                self._synced = time.monotonic()
        except OSError as error:
            raise self._write_error(error) from error

    def finish(self) -> StoreInfo:
        """Write the tables and make the store readable.

        Returns:
            The content of store.json.

        Raises:
            InputError: If they cannot be written.
        """
        self.flush(sync=not self.info.is_finished)
        try:
            tables = StoreTables(self.info)
            for record in file_records(self.path):
                tables.add(record)
            self._write_lists()
            self.info = tables.write(self.path)
        except OSError as error:
            raise self._write_error(error) from error
        return self.info

    def _write_lists(self) -> None:
        """Write the lists of skipped and repaired files, which are for people."""
        skipped, repaired = [], []
        for record in file_records(self.path):
            if "reason" in record:
                skipped.append(_list_row(record, record["reason"]))
            elif "repairs" in record:
                repaired.append(_list_row(record, "; ".join(record["repairs"])))
        try:
            for name, rows in ((SKIPPED_NAME, skipped), (REPAIRED_NAME, repaired)):
                write_atomic(self.path / name, "".join(rows).encode())
        except OSError as error:
            raise self._write_error(error) from error

    def _begin(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        if is_store(self.path):
            existing = StoreInfo.read(self.path)
            existing.check_same(self.info, mine=str(self.path), theirs="this run")
            self.info = existing
        elif foreign := sorted(file.name for file in self.path.iterdir()):
            raise InputError(
                f"{self.path} contains {foreign[0]} and is not a token store: choose an empty or a "
                "new folder"
            )
        self._lock = StoreLock(self.path)
        rename_old_files(self.path)
        for partial in self.path.glob("*.partial"):
            partial.unlink()
        verify(self.path, self.info, APPENDED_FILES)
        if not self.info.is_finished:
            self.info.write(self.path)
        self.done, sizes = recover(self.path, self._itemsizes)
        for name, size in sizes.items():
            self._open[name] = (self.path / name).open("ab", buffering=0)
            self._open[name].truncate(size)
            self._pending[name] = []

    def _put(self, name: str, content: bytes) -> None:
        self._pending[name].append(content)
        self._pending_bytes += len(content)

    def _log(self, record: Record) -> None:
        if self.info.is_finished:
            self.info = replace(self.info, is_finished=False)
            self.info.write(self.path)
        self._put(PROGRESS_NAME, record_bytes(record))
        now = time.monotonic()
        if self._pending_bytes > _FLUSH_BYTES or now - self._flushed > _FLUSH_SECONDS:
            self.flush(sync=now - self._synced > _SYNC_SECONDS)

    def _write(self, name: str, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            rest = rest[self._open[name].write(rest) :]

    def _write_error(self, error: OSError) -> InputError:
        return InputError(
            f"{self.path} {write_problem(error)}; the same command continues from where it stopped"
        )

    def _close(self) -> None:
        for file in self._open.values():
            file.close()
        if self._lock is not None:
            self._lock.release()


def _list_row(record: Record, text: str) -> str:
    return printable(f"{record['name']}: {text}", one_line=True) + "\n"
