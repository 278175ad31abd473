"""Notation files (MusicXML, ABC, Humdrum), read and written in a process of its own.

The process is started with the first file, kept for the next ones (music21 takes seconds to import)
and ended when it takes too long, needs too much memory or crashes; the next file starts a new one.
"""

import atexit
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rwkv_music.errors import ScoreFileError
from rwkv_music.score.midi import LoadedScore

if TYPE_CHECKING:
    import symusic

READING_SECONDS = 60.0
MAX_NOTATION_BYTES = 32 << 20


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
    return LoadedScore(*_ask(("read", text_format, content, seconds), name, seconds))


def write_notation(
    score: "symusic.Score", text_format: str, *, name: str | Path, seconds: float = READING_SECONDS
) -> bytes:
    """The score as the bytes of a notation file.

    Args:
        score: In ticks.
        text_format: "musicxml" or "mxl".
        name: What to call the file in an error.
        seconds: After which it is given up.

    Raises:
        ScoreFileError: If music21 cannot write it, or takes too long.
    """
    content: bytes = _ask(("write", text_format, score, seconds), name, seconds)
    return content


class _Worker:
    """The process that reads and writes notation, and the conversation with it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rwkv_music.score.notation_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.owner = os.getpid()

    @property
    def is_running(self) -> bool:
        """Whether the process is there to be asked."""
        return self._process.poll() is None

    def ask(self, request: object, seconds: float) -> Any:  # noqa: ANN401 - what was asked for
        """The answer, a pair of whether it went well and a result or a reason.

        Raises:
            TimeoutError: If there was no answer in time. The process is gone then.
            EOFError: If the process ended without one.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        is_late = threading.Event()

        def give_up() -> None:
            is_late.set()
            self._process.kill()

        timer = threading.Timer(seconds, give_up)
        timer.start()
        try:
            send(self._process.stdin, request)
            return receive(self._process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            code = self.close()
            if is_late.is_set():
                raise TimeoutError from error
            raise EOFError(f"it ended with code {code}") from error
        finally:
            timer.cancel()

    def close(self) -> int:
        """End the process; its exit code."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                _close_quietly(stream)
        return self._process.wait()


def _close_quietly(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except OSError:
        return  # what was still to be flushed has no reader any more


_lock = threading.Lock()
_workers: list[_Worker] = []


def _ask(request: object, name: str | Path, seconds: float) -> Any:  # noqa: ANN401
    with _lock:
        try:
            went_well, result = _worker().ask(request, seconds)
        except TimeoutError:
            _workers.clear()
            raise ScoreFileError(
                name, f"takes more than {seconds:g} s: convert it to MIDI elsewhere"
            ) from None
        except EOFError as error:
            _workers.clear()
            raise ScoreFileError(
                name, f"crashes its reader ({error}): convert it to MIDI elsewhere"
            ) from error
    if not went_well:
        raise ScoreFileError(name, result)
    return result


def _worker() -> _Worker:
    """The worker of this process, a new one if need be.

    One that came along in a fork belongs to the parent, and one that has ended without being asked
    must not be blamed on the next file.
    """
    if _workers and _workers[0].owner != os.getpid():
        _workers.clear()
    if _workers and not _workers[0].is_running:
        _workers.pop().close()
    if not _workers:
        _workers.append(_Worker())
    return _workers[0]


@atexit.register
def _end_worker() -> None:
    if _workers and _workers[0].owner == os.getpid():
        _workers.pop().close()


def send(stream: IO[bytes], message: object) -> None:
    """Write a message behind its length in 8 bytes."""
    packed = pickle.dumps(message)
    stream.write(len(packed).to_bytes(8, "little") + packed)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:  # noqa: ANN401
    """Read what `send` wrote.

    Raises:
        EOFError: If the other side is gone.
    """
    length = stream.read(8)
    if len(length) < 8:
        raise EOFError
    packed = stream.read(int.from_bytes(length, "little"))
    return pickle.loads(packed)  # noqa: S301 - from a process of ours
