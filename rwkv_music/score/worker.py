"""Read MusicXML and Humdrum files in a worker process.

The process starts with the first file and is kept for later ones. It is killed if it takes too
long, needs too much memory or crashes; the next file starts a new one. A process that is itself a
worker reads the file directly.
"""

import atexit
import os
import threading
from pathlib import Path

from rwkv_music.errors import InputError, ScoreFileError
from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.score.text_formats import MAX_NOTATION_BYTES, ReadRequest, parse_request
from rwkv_music.worker_process import Failure, WorkerEndedError, WorkerProcess, in_worker

READING_SECONDS = 60.0


def read_notation(
    content: bytes,
    text_format: str,
    *,
    name: str | Path,
    seconds: float = READING_SECONDS,
    unfold_repeats: bool = False,
) -> LoadedScore:
    """Read a notation file.

    Args:
        content: The whole file.
        text_format: "musicxml" (compressed or not) or "humdrum".
        name: What to call the file in an error.
        seconds: Processor time limit.
        unfold_repeats: Play repeats, endings and jumps of MusicXML and Humdrum.

    Raises:
        ScoreFileError: If the file cannot be read, takes too long or holds no notes.
    """
    if not content.strip():
        raise ScoreFileError(name, f"is empty ({len(content)} bytes): copy it again")
    if len(content) > MAX_NOTATION_BYTES:
        raise ScoreFileError(
            name, f"has {len(content)} bytes, at most {MAX_NOTATION_BYTES} are read: split it"
        )
    return _ask_worker(ReadRequest(content, text_format, unfold_repeats), seconds, name)


_lock = threading.Lock()
_workers: list[WorkerProcess] = []


def _ask_worker(request: ReadRequest, seconds: float, name: str | Path) -> LoadedScore:
    if in_worker():
        try:
            return parse_request(request)
        except InputError as error:
            raise ScoreFileError(name, str(error)) from error
    with _lock:
        try:
            result = _worker().ask(request, seconds)
        except WorkerEndedError as error:
            _workers.clear()
            result = error.failure
    if not isinstance(result, Failure):
        loaded: LoadedScore = result
        return loaded
    if result.kind == "late":
        raise ScoreFileError(name, f"{result.reason}: convert it to MIDI elsewhere")
    if result.kind == "crashed":
        raise ScoreFileError(
            name, f"crashes its reader (it {result.reason}): convert it to MIDI elsewhere"
        )
    raise ScoreFileError(name, result.reason)


def _worker() -> WorkerProcess:
    """Return the worker of this process, starting a new one if needed.

    A worker inherited through a fork belongs to the parent. A worker that ended on its own is
    replaced, so that the next file is not blamed for it.
    """
    if _workers and _workers[0].owner != os.getpid():
        _workers.clear()
    if _workers and not _workers[0].is_running:
        _workers.pop().close()
    if not _workers:
        _workers.append(WorkerProcess(parse_request))
    return _workers[0]


@atexit.register
def _end_worker() -> None:
    if _workers and _workers[0].owner == os.getpid():
        _workers.pop().close()
