"""List the music files of a folder, in an order that depends on their names alone."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rwkv_music.errors import InputError

_MAX_DEPTH = 100


class FoundFile(NamedTuple):
    """A file that may contain music."""

    name: str
    """Path relative to the folder, with slashes."""
    size: int
    """Size in bytes."""
    mtime: int
    """Time of the last change in nanoseconds."""
    problem: str = ""
    """Why it cannot be opened, if so. A folder may have a problem too."""


class FolderListing(NamedTuple):
    """Files of a folder."""

    music: list[FoundFile]
    """Files whose ending can be read, in order, and folders that cannot be listed."""
    ignored: Counter[str]
    """Ending -> number of other files with it; "" for no ending."""


@dataclass(frozen=True)
class Shard:
    """One of several parts of the files, of about equal size; the hash of a name selects it."""

    index: int
    """Counted from 0."""
    count: int
    """Number of shards."""

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Parse "i/n".

        Raises:
            InputError: If the text has another form, or i is not below n.

        Example:
            >>> Shard.parse("1/4")
            Shard(index=1, count=4)
        """
        first, slash, second = text.partition("/")
        if not (slash and first.isdecimal() and second.isdecimal()):
            raise InputError(f"'{text}' is not a shard: write i/n, such as 0/4 for the first of 4")
        shard = cls(int(first), int(second))
        if shard.index >= shard.count:
            raise InputError(
                f"shard {text} does not exist: i counts from 0, so it must be below {shard.count}"
            )
        return shard

    def contains(self, name: str) -> bool:
        """Return whether a file belongs to the shard."""
        encoded = name.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(encoded, digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.index


def sort_key(name: str) -> list[str]:
    """Return the key that sorts names in the order of `scan_folder`."""
    return name.split("/")


def find_files(folder: str | Path) -> FolderListing:
    """List every file in a folder and below it.

    Args:
        folder: Where to look.

    Raises:
        InputError: If it is not a folder.
    """
    ignored: Counter[str] = Counter()
    return FolderListing(list(scan_folder(Path(folder), ignored=ignored)), ignored)


def scan_folder(
    folder: Path, shard: Shard | None = None, *, ignored: Counter[str] | None = None
) -> Iterator[FoundFile]:
    """Yield every file in a folder and below it whose ending can be read. Links are followed.

    A folder that cannot be listed, that is a link to a folder above it, or that is nested too
    deeply is yielded with a problem.

    Args:
        folder: Where to look.
        shard: Shard of the files to yield; all files when None.
        ignored: Counter of the endings of all other files.

    Raises:
        InputError: If it is not a folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give a folder of music files")
    others: Counter[str] = Counter() if ignored is None else ignored
    for file in _files_in(folder, "", (folder.resolve(),), others):
        if shard is None or shard.contains(file.name):
            yield file


def _files_in(
    folder: Path, prefix: str, parents: tuple[Path, ...], ignored: Counter[str]
) -> Iterator[FoundFile]:
    from rwkv_music.score.files import READABLE_SUFFIXES

    try:
        with os.scandir(folder) as entries:
            sorted_entries = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield FoundFile(prefix.rstrip("/") or ".", 0, 0, f"cannot be listed ({error.strerror})")
        return
    for entry in sorted_entries:
        name = prefix + entry.name
        if _is_folder(entry):
            yield from _files_below(Path(entry.path), name, parents, ignored)
        elif name.lower().endswith(READABLE_SUFFIXES):
            yield _found_file(entry, name)
        else:
            ignored[Path(entry.name).suffix.lower()] += 1


def _files_below(
    folder: Path, name: str, parents: tuple[Path, ...], ignored: Counter[str]
) -> Iterator[FoundFile]:
    target = folder.resolve()
    if target in parents:
        yield FoundFile(name, 0, 0, "is a link to a folder that contains it: remove the link")
    elif len(parents) > _MAX_DEPTH:
        problem = f"is more than {_MAX_DEPTH} folders deep: move it further up"
        yield FoundFile(name, 0, 0, problem)
    else:
        yield from _files_in(folder, f"{name}/", (*parents, target), ignored)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # opening it gives the reason


def _found_file(entry: "os.DirEntry[str]", name: str) -> FoundFile:
    try:
        status = entry.stat()
    except OSError as error:
        return FoundFile(name, 0, 0, f"cannot be opened ({error.strerror}): check the file")
    return FoundFile(name, status.st_size, status.st_mtime_ns)
