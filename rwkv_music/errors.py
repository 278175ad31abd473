"""Exceptions for errors that a user can cause.

Invalid input (a file, a number, a folder) raises an `InputError`. Its one-line message names the
value, the limit and the remedy. The command line prints the message and exits with code 2; the
widgets show it. Any other exception is a bug of this library.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WRITE_REMEDIES = {
    errno.ENOSPC: "free some space or choose another path",
    errno.EDQUOT: "free some space or choose another path",
    errno.EFBIG: "free some space or choose another path",
    errno.EACCES: "choose a path that you may write to",
    errno.EPERM: "choose a path that you may write to",
    errno.ENOENT: "the folder is gone, so choose another path",
    errno.ENOTDIR: "the folder is gone, so choose another path",
    errno.EROFS: "choose a path on a writable disk",
    errno.EIO: "check the disk, or choose another path",
    errno.EMFILE: "close other programs, or raise the limit of open files (ulimit -n)",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class InputError(ValueError):
    """Invalid input from the user. The message says what is wrong, why, and what to do."""


class ScoreFileError(InputError):
    """A music file cannot be read or written.

    Args:
        path: The file, or the name given for bytes.
        reason: What is wrong and how to fix it, in one sentence.
        offset: Byte offset of the error in the file, if known.
    """

    def __init__(self, path: str | Path, reason: str, *, offset: int | None = None) -> None:
        self.path = str(path)
        self.reason = reason
        self.offset = offset
        location = "" if offset is None else f", byte {offset}"
        super().__init__(f"{self.path}{location}: {reason}")


class WriteError(InputError):
    """A file or folder cannot be written: the disk is full, read-only, gone, or denies access."""


class CheckpointError(InputError):
    """A model file cannot be loaded: missing, damaged, or with other sizes or vocabulary."""


class TrainingFailedError(InputError):
    """A training run stopped early for a reason the user can fix.

    The message names the reason, the remedy and the last checkpoint.
    """


class OtherProcessError(InputError):
    """Another process of the same training run has exited, so this process has to stop."""


class MissingExtraError(InputError):
    """An optional package is not installed.

    Args:
        feature: What the user wanted to do, e.g. "playback".
        package: The missing package, e.g. "pygame".
        extra: The extra of `rwkv-music` that installs it.
    """

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs {package}, which is not installed. "
            f"Run: pip install 'rwkv-music[{extra}]'"
        )


def write_problem(error: OSError) -> str:
    """Return why writing failed and the remedy, to follow the name of a path.

    Example:
        >>> write_problem(OSError(errno.ENOSPC, "No space left on device"))
        'cannot be written (No space left on device): free some space or choose another path'
    """
    code = -1 if error.errno is None else error.errno
    remedy = _WRITE_REMEDIES.get(code, "choose another path")
    return f"cannot be written ({error.strerror or error}): {remedy}"


@contextmanager
def write_errors(path: str | Path) -> Iterator[None]:
    """Turn every OSError inside a `with` block into a `WriteError` of one line.

    Args:
        path: Named in the message if the error names no file.
    """
    try:
        yield
    except OSError as error:
        raise WriteError(f"{error.filename or path} {write_problem(error)}") from error
