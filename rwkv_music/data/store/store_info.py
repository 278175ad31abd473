"""The files of a token store, and the content of its `store.json`.

store.json        schema, tokenizer, counts and checksums
train.bin .idx    token ids of the training pieces and their index: see `binidx`
train.bars        one row per bar, piece after piece: see `rwkv_music.tokenizer.bar_index`
train.pieces      one row per piece: see `PIECE`
train.names       names of the pieces, each followed by a zero byte
valid.*           the same for the held-out pieces
skipped.txt       files that cannot be used, one per line, with the reason
repaired.txt      files in which something was changed, one per line, with the change
progress.jsonl    one line per file in the order of processing: see `progress_log`. While a store is
                  being prepared, all other files follow from it
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_origin

import numpy as np

from rwkv_music.atomic import final_name, write_atomic
from rwkv_music.data.split_settings import SplitSettings
from rwkv_music.data.store.binidx import dtype_for
from rwkv_music.errors import InputError
from rwkv_music.old_names import STORE_FILES, STORE_INFO, TOKENIZER_SETTINGS, renamed
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.tokenizer.tokenizer import settings_text

SCHEMA = 1
"""Increased when older stores can no longer be read."""
SPLITS = ("train", "valid")
INFO_NAME = "store.json"
PROGRESS_NAME = "progress.jsonl"
SKIPPED_NAME = "skipped.txt"
REPAIRED_NAME = "repaired.txt"
LOCK_NAME = "lock"

PIECE = np.dtype([("bars", "<u4"), ("sha256", "V32")])
"""One piece: its number of bars and the SHA-256 of its ids, which identifies copies."""

_WHAT = "rwkv-music token store"
_TABLES = ("bars", "pieces", "names")
_DTYPES = ("uint16", "int32")
_MAX_SHOWN = 40


@dataclass(frozen=True, kw_only=True)
class StoreInfo:
    """Content of store.json."""

    tokenizer_version: int
    tokenizer_settings: Mapping[str, int]
    dtype: str
    """Dtype of the token ids, "uint16" or "int32"."""
    valid_fraction: float
    """Fraction of different pieces that is held out, by the hash of their content."""
    unfold_repeats: bool = False
    """Whether the repeats of notation files were played."""
    is_finished: bool = False
    pieces: Mapping[str, int] = field(default_factory=dict)
    """Pieces per split."""
    tokens: Mapping[str, int] = field(default_factory=dict)
    """Tokens per split."""
    bars: Mapping[str, int] = field(default_factory=dict)
    """Bars per split."""
    copies: int = 0
    """Pieces with the same content as another piece."""
    skipped: int = 0
    """Files that cannot be used."""
    repaired: int = 0
    """Pieces in which something was changed."""
    content_sha256: str = ""
    """SHA-256 over the names and contents of all pieces in order."""
    progress_bytes: int = field(default=0, compare=False)
    """Bytes of the progress log when the store was finished."""
    checksums: Mapping[str, str] = field(default_factory=dict, compare=False)
    """File of the store -> its SHA-256: see `checksums`. Empty in stores of older versions."""

    @classmethod
    def of(
        cls, tokenizer: Tokenizer, valid_fraction: float, *, unfold_repeats: bool = False
    ) -> "StoreInfo":
        """Return the content for a new store.

        Raises:
            InputError: If the fraction is out of range.
        """
        SplitSettings(valid_fraction=valid_fraction)  # checks the range
        return cls(
            tokenizer_version=Tokenizer.VERSION,
            tokenizer_settings=tokenizer.settings,
            dtype=dtype_for(tokenizer.vocab_size).name,
            valid_fraction=valid_fraction,
            unfold_repeats=unfold_repeats,
        )

    @classmethod
    def read(cls, store: Path) -> "StoreInfo":
        """Read store.json.

        Raises:
            InputError: If the file is missing, damaged, or of another schema.
        """
        path = store / INFO_NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("it is not a table of names and values")
            what, schema = content.pop("what"), content.pop("schema")
            checksum = content.pop("sha256", None)
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(
                f"{store} is not a token store, it contains no {INFO_NAME}: make one with "
                "`rwkv-music prepare`"
            ) from None
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path} cannot be read ({error}): prepare the store again") from error
        if what != _WHAT or schema != SCHEMA:
            raise InputError(
                f"{store} is a '{what}' of schema {schema}, this version of rwkv-music reads "
                f"schema {SCHEMA} of '{_WHAT}': prepare its files again into another store"
            )
        if checksum not in (None, _checksum(content)):
            raise InputError(
                f"{path} is damaged, its content does not have its checksum: copy the store again, "
                "or prepare its files into a new one"
            )
        content = renamed(content, STORE_INFO)
        if problem := _problem_of(content):
            raise InputError(f"{path} is damaged ({problem}): prepare the store again")
        content["tokenizer_settings"] = renamed(content["tokenizer_settings"], TOKENIZER_SETTINGS)
        return cls(**content)

    def write(self, store: Path) -> None:
        """Write store.json."""
        values = asdict(self)
        content = {"what": _WHAT, "schema": SCHEMA, **values, "sha256": _checksum(values)}
        write_atomic(store / INFO_NAME, (json.dumps(content, indent=1) + "\n").encode())

    @property
    def tokenizer_text(self) -> str:
        """Version and settings of the tokenizer, for messages."""
        return f"tokenizer {self.tokenizer_version} ({settings_text(self.tokenizer_settings)})"

    def check_same(self, other: "StoreInfo", *, mine: str, theirs: str) -> None:
        """Require the tokenizer and split of another store.

        Args:
            other: Content of the other store.json.
            mine: Name of this store in the message.
            theirs: Name of the other one in the message.

        Raises:
            InputError: If the tokenizer, the held-out fraction or the treatment of repeats differs.
        """
        if self.tokenizer_text != other.tokenizer_text:
            raise InputError(
                f"{mine} has {self.tokenizer_text}, {theirs} has {other.tokenizer_text}: use the "
                "same settings, or prepare the files again into another store"
            )
        if self.valid_fraction != other.valid_fraction:
            raise InputError(
                f"{mine} has a valid_fraction of {self.valid_fraction}, {theirs} has one of "
                f"{other.valid_fraction}: use the same fraction, or prepare the files again into "
                "another store"
            )
        if self.unfold_repeats != other.unfold_repeats:
            raise InputError(
                f"{mine} has unfold_repeats {self.unfold_repeats}, {theirs} has "
                f"{other.unfold_repeats}: use the same value, or prepare the files again into "
                "another store"
            )


def _checksum(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _problem_of(content: Mapping[str, Any]) -> str:
    """Return why values are not a `StoreInfo`; an empty text if they are."""
    declared = {entry.name: entry for entry in fields(StoreInfo)}
    for name in sorted(content.keys() - declared.keys()):
        return f"'{name}' is unknown"
    for name, entry in declared.items():
        if name not in content:
            if entry.default is MISSING and entry.default_factory is MISSING:
                return f"'{name}' is missing"
        elif not _has_type(content[name], entry.type):
            return f"'{name}' cannot be {json.dumps(content[name])[:_MAX_SHOWN]}"
    return "" if content["dtype"] in _DTYPES else f"'dtype' cannot be '{content['dtype']}'"


def _has_type(value: object, kind: Any) -> bool:  # noqa: ANN401 - a class or a Mapping type
    if get_origin(kind) is None:
        return isinstance(value, kind)
    _, item_kind = get_args(kind)
    return isinstance(value, dict) and all(isinstance(item, item_kind) for item in value.values())


def is_store(path: str | Path) -> bool:
    """Return whether a folder is a token store."""
    return (Path(path) / INFO_NAME).is_file()


def is_unfinished(path: Path) -> bool:
    """Return whether a folder contains an unfinished store and nothing else."""
    tables = [f"{split}.{suffix}" for split in SPLITS for suffix in ("bin", "idx", *_TABLES)]
    known = {INFO_NAME, PROGRESS_NAME, SKIPPED_NAME, REPAIRED_NAME, LOCK_NAME, *tables}
    return (
        is_store(path)
        and all(final_name(file.name) in known | STORE_FILES.keys() for file in path.iterdir())
        and not StoreInfo.read(path).is_finished
    )


def progress_log_path(store: Path) -> Path:
    """Return the path of a store's progress log, which older versions named otherwise."""
    path = store / PROGRESS_NAME
    old_names = [old for old, new in STORE_FILES.items() if new == PROGRESS_NAME]
    old_paths = [store / name for name in old_names if (store / name).exists()]
    return old_paths[0] if old_paths and not path.exists() else path


def rename_old_files(store: Path) -> None:
    """Give the files of a store from an older version their current names."""
    for old, new in STORE_FILES.items():
        if (store / old).exists() and not (store / new).exists():
            (store / old).rename(store / new)
