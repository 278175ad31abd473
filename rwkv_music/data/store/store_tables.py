"""The tables of a token store, collected record by record: indexes, pieces and names."""

import hashlib
from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np

from rwkv_music.atomic import write_atomic
from rwkv_music.data.store.binidx import index_bytes
from rwkv_music.data.store.checksums import compute_checksums
from rwkv_music.data.store.progress_log import Record
from rwkv_music.data.store.store_info import PIECE, PROGRESS_NAME, SPLITS, StoreInfo


class StoreTables:
    """Tables of a store in memory, at about 50 bytes and a name per piece.

    Args:
        info: Content of store.json so far.
    """

    def __init__(self, info: StoreInfo) -> None:
        self._info = info
        self._sizes = {split: array("i") for split in SPLITS}
        self._bars = {split: array("I") for split in SPLITS}
        self._hashes = {split: bytearray() for split in SPLITS}
        self._names = {split: bytearray() for split in SPLITS}
        self._skipped = self._repaired = 0

    def add(self, record: Record) -> None:
        """Add the record of a file."""
        if "reason" in record:
            self._skipped += 1
            return
        split = record["split"]
        self._repaired += "repairs" in record
        self._sizes[split].append(record["tokens"])
        self._bars[split].append(record["bars"])
        self._hashes[split] += bytes.fromhex(record["sha256"])
        self._names[split] += record["name"].encode("utf-8", "surrogatepass") + b"\0"

    def write(self, store: Path) -> StoreInfo:
        """Write all tables, store.json last.

        Returns:
            The content of store.json.
        """
        digest = hashlib.sha256()
        for split in SPLITS:
            sizes = np.array(self._sizes[split], dtype=np.int32)
            pieces = np.zeros(len(sizes), dtype=PIECE)
            pieces["bars"] = self._bars[split]
            pieces["sha256"] = np.frombuffer(self._hashes[split], dtype="V32")
            write_atomic(store / f"{split}.idx", index_bytes(sizes, np.dtype(self._info.dtype)))
            write_atomic(store / f"{split}.pieces", pieces.tobytes())
            write_atomic(store / f"{split}.names", self._names[split])
            for content in (self._names[split], b"\0", self._hashes[split]):
                digest.update(content)
        # 64 of the 256 bits are enough to count copies.
        hashes = np.concatenate(
            [np.frombuffer(table, "<u8")[::4] for table in self._hashes.values()]
        )
        info = replace(
            self._info,
            is_finished=True,
            pieces={split: len(sizes) for split, sizes in self._sizes.items()},
            tokens={split: sum(sizes) for split, sizes in self._sizes.items()},
            bars={split: sum(bars) for split, bars in self._bars.items()},
            copies=len(hashes) - len(np.unique(hashes)),
            skipped=self._skipped,
            repaired=self._repaired,
            content_sha256=digest.hexdigest(),
            progress_bytes=(store / PROGRESS_NAME).stat().st_size,
        )
        info = replace(info, checksums=compute_checksums(store, info))
        info.write(store)
        return info
