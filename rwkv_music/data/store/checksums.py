"""Checksums of the files of a token store, which store.json records and `Store` checks."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from rwkv_music.data.store.store_info import PROGRESS_NAME, SPLITS, StoreInfo, progress_log_path
from rwkv_music.errors import InputError
from rwkv_music.tokenizer.bar_index import BAR_ROW

_CHUNK_BYTES = 1 << 20
_TABLES = ("bin", "bars", "idx", "pieces", "names")


def split_files(split: str) -> tuple[str, ...]:
    """Return the names of the files of a split."""
    return tuple(f"{split}.{suffix}" for suffix in _TABLES)


APPENDED_FILES = (
    *(f"{split}.{suffix}" for split in SPLITS for suffix in ("bin", "bars")),
    PROGRESS_NAME,
)
"""Files to which further pieces are appended. The others are made anew from the progress log."""


def compute_checksums(store: Path, info: StoreInfo) -> dict[str, str]:
    """Return the checksum of each file of a store.

    Args:
        store: Folder of the store.
        info: Content of store.json with the final counts.
    """
    names = (*(name for split in SPLITS for name in split_files(split)), PROGRESS_NAME)
    return {name: _sha256(_path(store, name), _num_bytes(name, info)) for name in names}


def verify(store: Path, info: StoreInfo, names: Iterable[str]) -> None:
    """Check files of a store against their checksums; stores of older versions have none.

    Raises:
        InputError: If a file is missing or its content has changed.
    """
    for name in names:
        expected = info.checksums.get(name)
        if expected is None:
            continue
        path = _path(store, name)
        if not path.exists() or _sha256(path, _num_bytes(name, info)) != expected:
            raise InputError(
                f"{path} is damaged, its content does not have the checksum in store.json: copy "
                "the store again, or prepare its files into a new one"
            )


def _num_bytes(name: str, info: StoreInfo) -> int | None:
    """Return how many bytes of a file are checked, since some grow while files are added."""
    if name == PROGRESS_NAME:
        return info.progress_bytes
    split, _, suffix = name.partition(".")
    if suffix == "bin":
        return info.tokens.get(split, 0) * np.dtype(info.dtype).itemsize
    if suffix == "bars":
        return info.bars.get(split, 0) * BAR_ROW.itemsize
    return None


def _path(store: Path, name: str) -> Path:
    return progress_log_path(store) if name == PROGRESS_NAME else store / name


def _sha256(path: Path, num_bytes: int | None) -> str:
    """Return the checksum of the first bytes of a file, or of all of it."""
    digest = hashlib.sha256()
    remaining = path.stat().st_size if num_bytes is None else num_bytes
    with path.open("rb") as stream:
        while chunk := stream.read(min(_CHUNK_BYTES, remaining)):
            digest.update(chunk)
            remaining -= len(chunk)
    return digest.hexdigest()
