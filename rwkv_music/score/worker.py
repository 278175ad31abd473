"""Notation files (MusicXML, ABC, Humdrum), read in a process of its own.

The process is started with the first file, kept for the next ones (music21 takes seconds to import)
and ended when it takes too long, needs too much memory or crashes; the next file starts a new one.
In a process that is itself such a worker, they are read there.
"""

import atexit
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from rwkv_music.errors import InputError, ScoreFileError
from rwkv_music.score.midi.midi_reader import LoadedScore
from rwkv_music.score.text_formats import MAX_NOTATION_BYTES, Request, answer
from rwkv_music.worker_process import Failure, WorkerEndedError, WorkerProcess, in_worker

if TYPE_CHECKING:
    import symusic

READING_SECONDS = 60.0


def read_notation(
    content: bytes, text_format: str, *, name: str | Path, seconds: float = READING_SECONDS
) -> LoadedScore:
    """Read a notation file.

    Args:
        content: The whole file.
        text_format: "musicxml", "mxl", "abc" or "humdrum".
        name: What to call it in an error.
        seconds: After which it is given up.

    Raises:
        ScoreFileError: If it cannot be read, takes too long or holds no notes.
    """
    if not content.strip():
        raise ScoreFileError(name, f"is empty ({len(content)} bytes): copy it again")
    if len(content) > MAX_NOTATION_BYTES:
        raise ScoreFileError(
            name, f"has {len(content)} bytes, at most {MAX_NOTATION_BYTES} are read: split it"
        )
    return LoadedScore(*_ask(Request(content, text_format, seconds), name))


_lock = threading.Lock()
_workers: list[WorkerProcess] = []


def _ask(request: Request, name: str | Path) -> tuple["symusic.Score", tuple[str, ...]]:
    if in_worker():
        try:
            return answer(request)
        except InputError as error:
            raise ScoreFileError(name, str(error)) from error
    with _lock:
        try:
            result = _worker().ask(request, request.seconds)
        except WorkerEndedError as error:
            _workers.clear()
            result = error.failure
    if not isinstance(result, Failure):
        score, told = result
        return score, told
    if result.kind == "late":
        raise ScoreFileError(name, f"{result.reason}: convert it to MIDI elsewhere")
    if result.kind == "crashed":
        raise ScoreFileError(
            name, f"crashes its reader (it {result.reason}): convert it to MIDI elsewhere"
        )
    raise ScoreFileError(name, result.reason)


def _worker() -> WorkerProcess:
    """The worker of this process, a new one if need be.

    One that came along in a fork belongs to the parent, and one that has ended without being asked
    must not be blamed on the next file.
    """
    if _workers and _workers[0].owner != os.getpid():
        _workers.clear()
    if _workers and not _workers[0].is_running:
        _workers.pop().close()
    if not _workers:
        _workers.append(WorkerProcess(answer))
    return _workers[0]


@atexit.register
def _end_worker() -> None:
    if _workers and _workers[0].owner == os.getpid():
        _workers.pop().close()
