"""What went wrong with a run, in one line: the cause, what helps, and what is kept."""

import errno

from rwkv_music.errors import InputError, TrainingFailedError
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.distributed.process_group import LOST, is_lost
from rwkv_music.training.memory import advice_when_full

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def explained(
    error: BaseException, config: TrainingConfig, *, kept: str
) -> TrainingFailedError | None:
    """An error that a user can do something about, as one line; None for a bug of ours.

    Args:
        error: What ended the run.
        config: The run's settings.
        kept: What there is to go on from, as a sentence.
    """
    reason = _reason(error, config)
    return None if reason is None else TrainingFailedError(f"{reason}; {kept}")


def _reason(error: BaseException, config: TrainingConfig) -> str | None:
    text = str(error)
    if isinstance(error, MemoryError) or any(words in text.lower() for words in _OUT_OF_MEMORY):
        return advice_when_full(config)
    if isinstance(error, FloatingPointError | InputError):
        return text
    if is_lost(error):
        return LOST
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return f"no room left to write {error.filename or 'the run'} ({error.strerror}): free some"
    return None
