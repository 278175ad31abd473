"""Run a function in a worker process, isolated from crashes, hangs and memory exhaustion.

A worker is a fresh interpreter on every system: it inherits no threads and no locks. It receives
one function and then items for it. Results are sent back as they are made, those of 20 ms in one
message. Time limits count processor time. A worker exits when its parent is gone and ignores
Ctrl-C, which is meant for the parent.
"""

import contextlib
import faulthandler
import io
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Literal, NamedTuple

from rwkv_music.errors import InputError, ScoreFileError

MEMORY_BYTES = 4 << 30
"""Address space a worker may take, on systems that support such a limit."""
RESIDENT_BYTES = 2 << 30
"""Memory a worker may occupy, on every system; checked four times a second."""
FILE_BYTES = 256 << 20
"""Largest file that a worker or a program started by it may write."""

PATIENCE = 10
"""Wall-clock limit as a multiple of the processor time limit: a busy machine stretches only the
wall-clock time, and an item that waits forever uses no processor time."""

_START_SECONDS = 120.0
_MIN_WAIT = 0.01
_MEMORY_CHECK_SECONDS = 0.25
_GATHER_SECONDS = 0.02
_GATHER_BYTES = 1 << 20
_LONGEST_MESSAGE = 200
_ENTRY = "import sys; sys.path[:] = {path!r}; from rwkv_music.worker_process import main; main()"


class Failure(NamedTuple):
    """Why an item has no result."""

    kind: Literal["refused", "failed", "crashed", "late"]
    """An `InputError`; any other exception; the process ended; it exceeded a limit."""
    reason: str
    """One line, without the name of the item."""
    detail: str = ""
    """The traceback of an exception that is not an `InputError`."""


class WorkerEndedError(Exception):
    """A worker ended with results missing."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.reason)


class WorkerProcess:
    """A process that applies one function to what it is sent.

    Args:
        function: Must be importable by its name in a fresh interpreter, or be an object (such as
            `functools.partial`) that pickles. It must not read stdin.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _ENTRY.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._function: Callable[[Any], Any] | None = function

    @property
    def is_running(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def start(self) -> None:
        """Wait until the function is imported; `answers` does this on first use.

        Raises:
            RuntimeError: If the process cannot start or import it.
        """
        if self._function is None:
            return
        try:
            self._send(self._function)
            problem = self._receive(_START_SECONDS)
        except WorkerEndedError as error:
            raise RuntimeError(f"a worker process cannot start: it {error}") from error
        if problem:
            self.close()
            raise RuntimeError(f"a worker process cannot import its function: {problem[0]}")
        self._function = None

    def answers(self, items: Sequence[Any], seconds: float) -> Iterator[list[Any]]:
        """Yield results in the order of the items, with a `Failure` for each item without one.

        Args:
            items: What to apply the function to.
            seconds: Processor time limit of an item; `PATIENCE` times as much by the clock.

        Yields:
            The next few results.

        Raises:
            WorkerEndedError: If the process ended or was killed with results missing.
        """
        self.start()
        self._send((list(items), seconds))
        missing = len(items)
        while missing:
            answers = self._receive(seconds, gathering=len(items) > 1)
            missing -= len(answers)
            yield answers

    def ask(self, item: Any, seconds: float) -> Any:  # noqa: ANN401 - whatever the function gives
        """Return the result for one item, or a `Failure`.

        Raises:
            WorkerEndedError: If the process ended or was killed without one.
        """
        ((answer,),) = self.answers([item], seconds)
        return answer

    def kill(self) -> None:
        """Kill the process; a caller waiting for results gets a `WorkerEndedError`."""
        self._process.kill()

    def close(self) -> int:
        """Kill the process and return its exit code."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                _close_quietly(stream)
        return self._process.wait()

    def _send(self, message: object) -> None:
        assert self._process.stdin is not None
        try:
            _write(self._process.stdin, pickle.dumps(message))
        except OSError as error:
            raise self._ended() from error

    def _receive(self, seconds: float, *, gathering: bool = False) -> list[Any]:
        assert self._process.stdout is not None
        watch = _Watch(self._process, seconds, gathering * _GATHER_SECONDS)
        try:
            packed = _read(self._process.stdout)
        except (OSError, EOFError, ValueError) as error:
            raise self._ended(watch.complaint) from error
        finally:
            watch.end()
        if watch.complaint:
            raise self._ended(watch.complaint)
        return list(_unpack(packed))

    def _ended(self, complaint: str = "") -> WorkerEndedError:
        code = self._code_of_the_end()
        if complaint:
            return WorkerEndedError(Failure("late", complaint))
        return WorkerEndedError(Failure("crashed", f"ends its process ({describe_exit(code)})"))

    def _code_of_the_end(self) -> int:
        """Exit code of the process if it is ending on its own, else that of being killed."""
        with contextlib.suppress(subprocess.TimeoutExpired):  # then it only closed its output
            self._process.wait(timeout=1.0)
        return self.close()


class _Watch:
    """Kill a process that takes too long or too much memory, on every system.

    Args:
        process: The process, watched from now on.
        seconds: Processor time limit.
        spare: Additional seconds.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", seconds: float, spare: float) -> None:
        self.complaint = ""
        """Why the process was killed; empty if it was not."""
        self._process = process
        self._seconds, self._spare = seconds, spare
        self._start = self._usage().seconds
        self._is_over = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def end(self) -> None:
        """Stop watching."""
        self._is_over.set()

    def _run(self) -> None:
        began = time.monotonic()
        patience = PATIENCE * self._seconds + self._spare
        remaining = self._seconds + self._spare
        while not self._is_over.wait(min(max(remaining, _MIN_WAIT), _MEMORY_CHECK_SECONDS)):
            usage = self._usage()
            work_left = self._seconds + self._spare - (usage.seconds - self._start)
            time_left = began + patience - time.monotonic()
            remaining = min(work_left, time_left)
            if usage.memory > RESIDENT_BYTES:
                self.complaint = f"needs more than {RESIDENT_BYTES >> 30} GiB of memory"
            elif work_left <= 0:
                self.complaint = f"takes more than {self._seconds:.4g} s"
            elif time_left <= 0:
                self.complaint = f"has not answered for {PATIENCE * self._seconds:.4g} s"
            if self.complaint:
                self._process.kill()
                return

    def _usage(self) -> "_Usage":
        import psutil

        try:
            process = psutil.Process(self._process.pid)
            times, memory = process.cpu_times(), process.memory_info().rss
        except psutil.NoSuchProcess:
            return _Usage(0.0, 0)
        return _Usage(float(times.user + times.system), int(memory))


class _Usage(NamedTuple):
    """What a process has used so far."""

    seconds: float
    """Processor time."""
    memory: int
    """Resident bytes."""


def describe_exit(code: int) -> str:
    """Describe an exit code.

    Example:
        >>> describe_exit(3)
        'exit code 3'
    """
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


_is_worker = False


def in_worker() -> bool:
    """Whether this process is a worker, in which risky code may run directly."""
    return _is_worker


def main() -> None:
    """Run a worker: receive the function, then items until stdin ends."""
    global _is_worker  # noqa: PLW0603 - a fact about the whole process
    _is_worker = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stream, answers = _take_streams()
    _limit_resources()
    warnings.simplefilter("ignore")
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(stream, requests), daemon=True).start()
    try:
        function = pickle.loads(requests.get())  # noqa: S301 - from the process that started us
    except Exception as error:  # noqa: BLE001 - importing may raise anything
        _write(answers, pickle.dumps(_in_one_line(error)))
        return
    _write(answers, b"")
    while True:
        items, seconds = pickle.loads(requests.get())  # noqa: S301
        _work_off(function, items, seconds, answers)


def _listen(stream: IO[bytes], requests: "queue.SimpleQueue[bytes]") -> None:
    """Receive requests; exit the process as soon as the parent is gone."""
    while True:
        try:
            requests.put(_read(stream))
        except EOFError:
            os._exit(0)


def _take_streams() -> tuple[IO[bytes], IO[bytes]]:
    """Reserve stdin and stdout for messages: output of the function goes nowhere."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    return requests, answers


def _work_off(
    function: Callable[[Any], Any], items: list[Any], seconds: float, answers: IO[bytes]
) -> None:
    """Process all items; send results in small groups, at the latest after 20 ms."""
    gathered: list[bytes] = []
    size, began = 0, time.monotonic()
    # The parent may be gone while an endless item keeps `_listen` from running.
    patience = (PATIENCE + 1) * seconds + 5
    faulthandler.dump_traceback_later(patience, exit=True)
    for item in items:
        gathered.append(_packed_answer(function, item))
        size += len(gathered[-1])
        if size > _GATHER_BYTES or time.monotonic() - began > _GATHER_SECONDS:
            faulthandler.cancel_dump_traceback_later()
            _write(answers, b"".join(gathered))
            gathered.clear()
            size, began = 0, time.monotonic()
            faulthandler.dump_traceback_later(patience, exit=True)
    faulthandler.cancel_dump_traceback_later()
    if gathered:
        _write(answers, b"".join(gathered))


def _packed_answer(function: Callable[[Any], Any], item: object) -> bytes:
    try:
        return pickle.dumps(function(item), protocol=pickle.HIGHEST_PROTOCOL)
    except ScoreFileError as error:
        where = "" if error.offset is None else f"byte {error.offset}: "
        failure = Failure("refused", where + error.reason)
    except InputError as error:
        failure = Failure("refused", str(error))
    except MemoryError:
        failure = Failure("failed", f"needs more than the {MEMORY_BYTES >> 30} GiB it may take")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - no item may stop the others
        failure = Failure("failed", _in_one_line(error), traceback.format_exc())
    return pickle.dumps(failure)


def _in_one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_MESSAGE]


def _limit_resources() -> None:
    """Set the limits of the system, so that a hostile file cannot exhaust the machine."""
    try:
        import resource
    except ModuleNotFoundError:
        return  # Windows: only `_Watch` limits the process
    limits = (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    )
    for resource_limit, most in limits:
        current = resource.getrlimit(resource_limit)[1]
        lower = most if current == resource.RLIM_INFINITY else min(most, current)
        resource.setrlimit(resource_limit, (lower, lower))


def _write(stream: IO[bytes], packed: bytes) -> None:
    """Write a message after its length in 8 bytes."""
    stream.write(len(packed).to_bytes(8, "little") + packed)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes:
    """Read a message written by `_write`.

    Raises:
        EOFError: If the other side is gone.
    """
    length = stream.read(8)
    size = int.from_bytes(length, "little")
    packed = stream.read(size) if len(length) == 8 else b""
    if len(length) < 8 or len(packed) < size:
        raise EOFError
    return packed


def _unpack(packed: bytes) -> Iterator[Any]:
    stream = io.BytesIO(packed)
    while stream.tell() < len(packed):
        yield pickle.load(stream)  # noqa: S301 - from a process of ours


def _close_quietly(stream: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # unflushed data has no reader any more
        stream.close()
