"""The music files in a folder, in one order that depends on their names alone."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rwkv_music.errors import InputError

_FOLDER_DEPTH = 100


class FoundFile(NamedTuple):
    """A file that may be music."""

    name: str
    """Relative to the folder, with slashes."""
    size: int
    mtime: int
    """Time of the last change in nanoseconds."""
    problem: str = ""
    """Why it cannot even be opened, if so. A folder may have one too."""


class FoundFiles(NamedTuple):
    """What lies in a folder."""

    music: list[FoundFile]
    """Files with an ending that can be read, in order, and folders that cannot be looked into."""
    ignored: Counter[str]
    """Ending -> how many files with it were not looked into; "" for none."""


class Shard(NamedTuple):
    """One of several equal shares of the files; the hash of a file's name tells which."""

    number: int
    """Counted from 0."""
    of: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read "i/n".

        Raises:
            InputError: If it is none.

        Example:
            >>> Shard.parse("1/4")
            Shard(number=1, of=4)
        """
        first, slash, second = text.partition("/")
        if not (slash and first.isdecimal() and second.isdecimal()):
            raise InputError(f"'{text}' is no shard: write i/n, such as 0/4 for the first of four")
        shard = cls(int(first), int(second))
        if shard.number >= shard.of:
            raise InputError(
                f"shard {text} does not exist: i counts from 0, so it must be below n = {shard.of}"
            )
        return shard

    def holds(self, name: str) -> bool:
        """Whether a file belongs to it."""
        packed = name.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(packed, digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.of == self.number


def in_order(name: str) -> list[str]:
    """The key by which files are in the order of `scan`."""
    return name.split("/")


def find_files(folder: str | Path) -> FoundFiles:
    """Every file in a folder and below it, as `scan` finds them.

    Args:
        folder: Where to look.

    Raises:
        InputError: If it is no folder.
    """
    ignored: Counter[str] = Counter()
    return FoundFiles(list(scan(Path(folder), ignored=ignored)), ignored)


def scan(
    folder: Path, shard: Shard | None = None, *, ignored: Counter[str] | None = None
) -> Iterator[FoundFile]:
    """Every file in a folder and below it whose ending can be read, also behind links.

    A folder that cannot be listed, that is a link back to one it lies in, or that lies too deep is
    told as a problem.

    Args:
        folder: Where to look.
        shard: Of which files; of all by default.
        ignored: Counts all other files by their endings.

    Raises:
        InputError: If it is no folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give a folder with music files in it")
    others: Counter[str] = Counter() if ignored is None else ignored
    for found in _below(folder, "", (_identity(folder),), others):
        if shard is None or shard.holds(found.name):
            yield found


def _below(
    folder: Path, prefix: str, above: tuple[object, ...], ignored: Counter[str]
) -> Iterator[FoundFile]:
    from rwkv_music.score.files import READABLE_SUFFIXES

    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield FoundFile(prefix.rstrip("/") or ".", 0, 0, f"cannot be listed ({error.strerror})")
        return
    for entry in found:
        name = prefix + entry.name
        if _is_folder(entry):
            yield from _inside(Path(entry.path), name, above, ignored)
        elif name.lower().endswith(READABLE_SUFFIXES):
            yield _described(entry, name)
        else:
            ignored[Path(entry.name).suffix.lower()] += 1


def _inside(
    folder: Path, name: str, above: tuple[object, ...], ignored: Counter[str]
) -> Iterator[FoundFile]:
    identity = _identity(folder)
    if identity in above:
        yield FoundFile(name, 0, 0, "is a link to a folder that it lies in: remove the link")
    elif len(above) > _FOLDER_DEPTH:
        problem = f"lies more than {_FOLDER_DEPTH} folders deep: move it further up"
        yield FoundFile(name, 0, 0, problem)
    else:
        yield from _below(folder, f"{name}/", (*above, identity), ignored)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # it will say so itself when it is opened


def _described(entry: "os.DirEntry[str]", name: str) -> FoundFile:
    try:
        found = entry.stat()
    except OSError as error:
        return FoundFile(name, 0, 0, f"cannot be opened ({error.strerror}): check the file")
    return FoundFile(name, found.st_size, found.st_mtime_ns)


def _identity(folder: Path) -> object:
    """What tells a folder from others, whatever links lead to it."""
    return folder.resolve()
