"""Time limits of workers that read music files, and what to do about files they fail with."""

import math
from pathlib import Path

from rwkv_music.worker_process import Failure

MIDI_SECONDS = 1.0
TEXT_SECONDS = 60.0
_ORDINARY_BYTES = 1 << 18
_SECONDS_PER_MIB = 5.0
"""A file that is read event by event takes about a second a MiB."""

_REMEDIES = {
    "late": "leave it out, or convert it with another program",
    "crashed": "export it again in another format, or leave it out",
    "failed": "leave it out, and please report this",
    "refused": "leave it out",
}
"""Kind of failure -> what to do about the file."""


def seconds_for(path: str | Path, size: int = 0) -> float:
    """Return the time limit for reading a music file.

    Args:
        path: Its name.
        size: In bytes.

    Returns:
        A minute for text. A second for MIDI, and five more per MiB if it is unusually large.
    """
    from rwkv_music.score.files import TEXT_FORMATS

    if Path(path).suffix.lower() in TEXT_FORMATS:
        return TEXT_SECONDS
    is_large = size > _ORDINARY_BYTES
    return MIDI_SECONDS + _SECONDS_PER_MIB * math.ceil(size / (1 << 20)) * is_large


def failure_text(failure: Failure) -> str:
    """Return why a file cannot be used and what to do about it."""
    return f"{failure.reason}: {_REMEDIES[failure.kind]}"
