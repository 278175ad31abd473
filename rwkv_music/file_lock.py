"""Exclusive locks between processes, on a file that may stay when the lock is released."""

import errno
import os
import sys
from pathlib import Path
from typing import Any

_HELD = {errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL}


class LockHeldError(Exception):
    """Another process, or another `FileLock` of this process, holds the lock."""


class LocksUnsupportedError(Exception):
    """The file system has no locks."""


class FileLock:
    """An exclusive lock; the system releases it when the process ends, however it ends.

    Args:
        path: The file to lock; it is created if it does not exist, in a folder that does.

    Raises:
        LockHeldError: If the lock is held.
        LocksUnsupportedError: If the file system has no locks.
        OSError: If the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        while True:
            self._file: Any = path.open("ab")
            try:
                _lock(self._file)
            except OSError as error:
                self._file.close()
                if error.errno in _NO_LOCKS:
                    raise LocksUnsupportedError(str(error)) from error
                if error.errno in _HELD:
                    raise LockHeldError(str(path)) from error
                raise
            if self._is_file_at(path):
                return
            self._file.close()  # its last holder has deleted the file in between

    def release(self) -> None:
        """Release the lock."""
        self._file.close()

    def _is_file_at(self, path: Path) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), path.stat())
        except FileNotFoundError:
            return False


def _lock(file: Any) -> None:  # noqa: ANN401 - a file object
    if sys.platform == "win32":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
