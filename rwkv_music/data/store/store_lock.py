"""The lock that lets one process at a time write to a token store."""

import errno
import sys
from pathlib import Path
from typing import Any

from rwkv_music.data.store.store_info import LOCK_NAME
from rwkv_music.errors import InputError


class StoreLock:
    """An exclusive lock on a store; the system releases it when the process ends.

    Args:
        store: The folder, which exists.

    Raises:
        InputError: If another process holds the lock, or the file system has no locks.
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
                    f"{store} cannot be locked ({error.strerror}): its file system has no locks; "
                    "choose a folder on another disk and copy the store later"
                ) from error
            raise InputError(
                f"{store} is being written to by another process: wait for it, or write to another "
                "store and merge the two later"
            ) from error

    def release(self) -> None:
        """Release the lock."""
        self._file.close()
