"""What lies in the folder of a token store, and the page about itself that it begins with.

store.json        what this is: schema, tokenizer, counts
train.bin .idx    token ids of the pieces to train on, and their index: see `binidx`
train.bars        a row for each bar, piece after piece: see `rwkv_music.tokenizer.bar_index`
train.pieces      a row for each piece: see `PIECE`
train.names       their names, a zero byte behind each
valid.*           the same for the pieces that are held out
set_aside.txt     the files that could not be used, one a line, with the reason
mended.txt        the files in which something was changed, one a line, with what it was
journal.jsonl     one line a file in the order in which they were done; it alone is the truth
while a store is being prepared
"""

import errno
import json
import sys
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_origin

import numpy as np

from rwkv_music.atomic import final_name, write_atomic
from rwkv_music.data.store.binidx import dtype_for
from rwkv_music.errors import InputError
from rwkv_music.old_names import TOKENIZER_SETTINGS, renamed
from rwkv_music.tokenizer import Tokenizer

SCHEMA = 1
"""Counts up when older stores can no longer be read."""
SIDES = ("train", "valid")
INFO_NAME = "store.json"
JOURNAL_NAME = "journal.jsonl"
SET_ASIDE_NAME = "set_aside.txt"
MENDED_NAME = "mended.txt"
LOCK_NAME = "lock"

PIECE = np.dtype([("bars", "<u4"), ("sha256", "V32")])
"""One piece: its bars, and the SHA-256 of its ids, by which copies are known."""

_WHAT = "rwkv-music token store"
_TABLES = ("bars", "pieces", "names")
_DTYPES = ("uint16", "int32")
_LONGEST_VALUE = 40


@dataclass(frozen=True, kw_only=True)
class StoreInfo:
    """The content of store.json."""

    tokenizer_version: int
    tokenizer_settings: Mapping[str, int]
    dtype: str
    """Of the token ids, "uint16" or "int32"."""
    valid_share: float
    """Share of different pieces that is held out, by the hash of their content."""
    is_finished: bool = False
    pieces: Mapping[str, int] = field(default_factory=dict)
    """By side, as are tokens and bars."""
    tokens: Mapping[str, int] = field(default_factory=dict)
    bars: Mapping[str, int] = field(default_factory=dict)
    copies: int = 0
    """Pieces whose content another piece has too."""
    set_aside: int = 0
    """Files that could not be used."""
    mended: int = 0
    """Pieces in which something was changed."""
    content_sha256: str = ""
    """Over the names and contents of all pieces in order."""

    @classmethod
    def of(cls, tokenizer: Tokenizer, valid_share: float) -> "StoreInfo":
        """For a new store.

        Raises:
            InputError: If the share is out of range.
        """
        if not 0 < valid_share < 1:
            raise InputError(f"the share to hold out must be in (0, 1), got {valid_share}")
        return cls(
            tokenizer_version=Tokenizer.VERSION,
            tokenizer_settings=tokenizer.settings,
            dtype=dtype_for(tokenizer.vocab_size).name,
            valid_share=valid_share,
        )

    @classmethod
    def read(cls, store: Path) -> "StoreInfo":
        """Of an existing store.

        Raises:
            InputError: If there is none, a damaged one, or one of another schema.
        """
        path = store / INFO_NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("it holds no table of names and values")
            what, schema = content.pop("what"), content.pop("schema")
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(
                f"{store} is no token store, there is no {INFO_NAME} in it: make one with "
                f"rwkv-music prepare FOLDER -o {store}"
            ) from None
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path} cannot be read ({error}): prepare the store again") from error
        if what != _WHAT or schema != SCHEMA:
            raise InputError(
                f"{store} is a '{what}' of schema {schema}, this version of rwkv-music reads "
                f"schema {SCHEMA} of '{_WHAT}': prepare its files again into another store"
            )
        if problem := _problem_of(content):
            raise InputError(f"{path} is damaged ({problem}): prepare the store again")
        content["tokenizer_settings"] = renamed(content["tokenizer_settings"], TOKENIZER_SETTINGS)
        return cls(**content)

    def write(self, store: Path) -> None:
        """Write store.json."""
        content = {"what": _WHAT, "schema": SCHEMA, **asdict(self)}
        write_atomic(store / INFO_NAME, (json.dumps(content, indent=1) + "\n").encode())

    @property
    def tokenizer_in_words(self) -> str:
        """Version and settings."""
        return f"tokenizer {self.tokenizer_version} ({in_words(self.tokenizer_settings)})"

    def check_same(self, other: "StoreInfo", *, mine: str, theirs: str) -> None:
        """Refuse to mix what does not belong together.

        Raises:
            InputError: If tokenizer or split differ.
        """
        if self.tokenizer_in_words != other.tokenizer_in_words:
            raise InputError(
                f"{mine} has {self.tokenizer_in_words}, {theirs} has {other.tokenizer_in_words}: "
                "use the same settings, or prepare the files again into another store"
            )
        if self.valid_share != other.valid_share:
            raise InputError(
                f"{mine} holds out a share of {self.valid_share}, {theirs} of {other.valid_share}: "
                "use the same share, or prepare the files again into another store"
            )


def _problem_of(content: Mapping[str, Any]) -> str:
    """What keeps values from being a `StoreInfo`; empty if nothing does."""
    known = {each.name: each for each in fields(StoreInfo)}
    for name in sorted(content.keys() - known.keys()):
        return f"'{name}' is unknown"
    for name, each in known.items():
        if name not in content:
            if each.default is MISSING and each.default_factory is MISSING:
                return f"'{name}' is missing"
        elif not _is_kind(content[name], each.type):
            return f"'{name}' cannot be {json.dumps(content[name])[:_LONGEST_VALUE]}"
    return "" if content["dtype"] in _DTYPES else f"'dtype' cannot be '{content['dtype']}'"


def _is_kind(value: object, kind: Any) -> bool:  # noqa: ANN401 - a class or Mapping[str, int]
    if get_origin(kind) is None:
        return isinstance(value, kind)
    return isinstance(value, dict) and all(isinstance(each, int) for each in value.values())


def in_words(tokenizer_settings: Mapping[str, int]) -> str:
    """The settings of a tokenizer for messages."""
    return ", ".join(f"{name} {value}" for name, value in tokenizer_settings.items())


def is_store(path: str | Path) -> bool:
    """Whether a folder is a token store."""
    return (Path(path) / INFO_NAME).is_file()


def is_unfinished(path: Path) -> bool:
    """Whether a folder holds a store that is still to be finished, and nothing else."""
    tables = [f"{side}.{kind}" for side in SIDES for kind in ("bin", "idx", *_TABLES)]
    ours = {INFO_NAME, JOURNAL_NAME, SET_ASIDE_NAME, MENDED_NAME, LOCK_NAME, *tables}
    return (
        is_store(path)
        and all(final_name(each.name) in ours for each in path.iterdir())
        and not StoreInfo.read(path).is_finished
    )


class StoreLock:
    """Keeps a second process from writing to a store; the system lifts it when this one ends.

    Args:
        store: The folder, which exists.

    Raises:
        InputError: If another process holds it, or the file system knows no locks.
    """

    def __init__(self, store: Path) -> None:
        self._file: Any = (store / LOCK_NAME).open("ab")
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(self._file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise InputError(
                    f"{store} cannot be kept from other processes ({error.strerror}): its file "
                    "system has no locks; choose a place on another disk and copy the store later"
                ) from error
            raise InputError(
                f"{store} is being written to by another process: wait for it, or name another "
                "store and merge the two later"
            ) from error

    def release(self) -> None:
        """Let others write."""
        self._file.close()
