"""Files written aside and then renamed: nobody ever meets half of one."""

import errno
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FLUSHES_NO_NAMES = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}
_BEFORE_THE_END = re.compile(r"\.\d+-\d+\.partial$")


@contextmanager
def atomic_writer(path: Path) -> Iterator[Path]:
    """A place beside `path` to write a file to, which takes its name at the end.

    The contents are on the disk before the name is, so that a machine that loses its power keeps
    the old file or the new one. The file has the mode that any new file has here, whatever mode the
    library that wrote it prefers. Nothing is left of one that could not be written to its end.

    Args:
        path: Missing folders above it are made.

    Raises:
        OSError: If the place cannot be written to; a file that was there stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_native_id()}.partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode
        partial.unlink()
        yield partial
        partial.chmod(mode)
        flush_to_disk(partial)
        partial.replace(path)
        flush_to_disk(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes | bytearray) -> None:
    """Write a file's whole content, as `atomic_writer` does.

    Raises:
        OSError: If the place cannot be written to; a file that was there stays as it was.
    """
    with atomic_writer(path) as aside:
        aside.write_bytes(content)


def final_name(name: str) -> str:
    """What a file will be called when it is written, should it be one that is not yet."""
    return _BEFORE_THE_END.sub("", name)


def flush_to_disk(path: Path) -> None:
    """Wait until a file's contents, or the names in a folder, are on the disk.

    Shared folders and the like that flush no names write them when they will.
    """
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":
        return  # Windows opens no folders, and writes names at once
    # Windows flushes only what may be written to.
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not is_folder or error.errno not in _FLUSHES_NO_NAMES:
            raise
    finally:
        os.close(descriptor)
