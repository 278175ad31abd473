"""Why a run failed, in one line: the cause, the remedy, and what is kept."""

import errno
from collections.abc import Callable

from rwkv_music.errors import InputError, TrainingFailedError
from rwkv_music.training.distributed.process_group import LOST, is_lost

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "free some space",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "check the permissions of the folder",
    errno.EPERM: "check the permissions of the folder",
    errno.ENOENT: "the run directory was moved or deleted",
    errno.ENOTDIR: "the run directory was moved or deleted",
    errno.EMFILE: "close other programs, or raise the limit of open files (ulimit -n)",
}


def explained(
    error: BaseException, *, memory_advice: Callable[[], str], kept: str
) -> TrainingFailedError | None:
    """Return an error that the user can fix as one line; None for a bug.

    Args:
        error: The error that ended the run.
        memory_advice: Returns what to do if the memory is full.
        kept: What there is to resume from, as the end of a sentence.
    """
    reason = _reason(error, memory_advice)
    return None if reason is None else TrainingFailedError(f"{reason}; {kept}")


def disk_error_text(error: OSError) -> str:
    """Return what failed, with which file, and what to do."""
    remedy = _REMEDIES.get(error.errno or 0, "check the disk")
    reason = error.strerror or type(error).__name__
    return f"cannot read or write {error.filename or 'the run'} ({reason}): {remedy}"


def _reason(error: BaseException, memory_advice: Callable[[], str]) -> str | None:
    text = str(error)
    if isinstance(error, MemoryError) or any(words in text.lower() for words in _OUT_OF_MEMORY):
        return memory_advice()
    if isinstance(error, FloatingPointError | InputError):
        return text
    if is_lost(error):
        return LOST
    return disk_error_text(error) if isinstance(error, OSError) else None
