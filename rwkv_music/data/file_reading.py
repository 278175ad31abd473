"""Time limits of workers that read music files, and what to do about files they fail with."""

from pathlib import Path

from rwkv_music.worker_process import Failure

MIDI_SECONDS = 1.0
TEXT_SECONDS = 60.0

_REMEDIES = {
    "late": "leave it out, or convert it with another program",
    "crashed": "export it again in another format, or leave it out",
    "failed": "leave it out, and please report this",
    "refused": "leave it out",
}
"""Kind of failure -> what to do about the file."""


def seconds_for(path: str | Path) -> float:
    """Return the time limit for reading a music file: a second for MIDI, a minute for text."""
    from rwkv_music.score.files import TEXT_FORMATS

    return TEXT_SECONDS if Path(path).suffix.lower() in TEXT_FORMATS else MIDI_SECONDS


def failure_text(failure: Failure) -> str:
    """Return why a file cannot be used and what to do about it."""
    return f"{failure.reason}: {_REMEDIES[failure.kind]}"
