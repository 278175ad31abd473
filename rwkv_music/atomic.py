"""Atomic file writing: write to a temporary file, flush it, then rename it."""

import errno
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FOLDER_FLUSH_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}
_REPLACE_SECONDS = 5.0
"""How long a rename is retried while another program has the target open."""
_PARTIAL_SUFFIX = re.compile(r"\.\d+-\d+\.partial$")


@contextmanager
def atomic_writer(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends.

    The contents are flushed to disk before the rename, so that a power failure leaves either the
    old file or the new one. The file gets the default mode of new files, whatever mode the library
    that wrote it has set. If the block fails, the temporary file is removed.

    Args:
        path: The final path. Missing parent folders are created.

    Raises:
        OSError: If the path cannot be written to; an existing file stays unchanged. The error names
            `path`, not the temporary file.
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
        replace_file(partial, path)
        flush_to_disk(path.parent)
    except OSError as error:
        if error.filename in (None, str(partial)):
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes | bytearray) -> None:
    """Write the whole content of a file atomically.

    Raises:
        OSError: If the path cannot be written to. An existing file stays unchanged.
    """
    with atomic_writer(path) as partial:
        partial.write_bytes(content)


def replace_file(source: Path, target: Path) -> None:
    """Rename a file, replacing the target.

    Windows refuses to replace a file while another program has it open, e.g. a viewer that reads
    the status of a run. The rename is therefore retried for up to five seconds.

    Raises:
        OSError: If the rename fails for another reason, or the target stays open.
    """
    deadline = time.monotonic() + _REPLACE_SECONDS
    delay = 0.001
    while True:
        try:
            source.replace(target)
        except PermissionError:
            if time.monotonic() + delay > deadline or not os.access(target.parent, os.W_OK):
                raise
            time.sleep(delay)
            delay = min(2 * delay, 0.05)
        else:
            return


def final_name(name: str) -> str:
    """Return the name that a temporary file of `atomic_writer` will get; other names as they are.

    Example:
        >>> final_name("train.idx.17-17.partial")
        'train.idx'
    """
    return _PARTIAL_SUFFIX.sub("", name)


def flush_to_disk(path: Path) -> None:
    """Flush a file's contents, or a folder's entries, to disk.

    Folders on file systems that cannot flush entries (some network file systems) are skipped.
    """
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":
        return  # Windows cannot open folders, and writes names immediately
    # Windows flushes only files that are open for writing.
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not is_folder or error.errno not in _FOLDER_FLUSH_UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)
