"""One function over many files, in separate processes that may be lost.

A file that crashes its process, is killed with it, or takes too long costs only itself: the process
is replaced, and the files that were under way with it are tried again one by one, so that the one
to blame is known for certain and no other suffers.
"""

import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rwkv_music.data.file_reading import MIDI_SECONDS
from rwkv_music.errors import InputError
from rwkv_music.worker_process import Failure, WorkerEndedError, WorkerProcess

Item = TypeVar("Item")
Result = TypeVar("Result")

Progress = Callable[[int, int, str], None]
"""Called with (files or pieces done, how many there are, name of the one just done)."""

_BATCH_SECONDS = 0.1
_LARGEST_BATCH = 64
_LOOK_AHEAD = 2048
"""Items that may be under way or waiting for an earlier one when results are wanted in order."""
_LOOK_SECONDS = 0.005
_HEARTBEAT_SECONDS = 0.5


@dataclass(frozen=True)
class TaskResult(Generic[Item, Result]):
    """What became of an item."""

    item: Item
    result: Result | None
    """None if there is a failure (or the function gave None)."""
    failure: Failure | None


def usable_cores() -> int:
    """Processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_in_workers(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    seconds: float | Callable[[Item], float] = MIDI_SECONDS,
    in_order: bool = False,
) -> Generator[TaskResult[Item, Result], None, None]:
    """Apply a function to many items, in worker processes; results come while others are made.

    Memory stays the same however many items there are: items are taken as needed, and workers wait
    while the caller is busy. Closing the iterator ends the workers; put it into
    `contextlib.closing` where an exception such as Ctrl-C may leave the loop over it.

    Args:
        function: See `WorkerProcess`: importable by name, or an object that pickles.
        items: What to apply it to; they pickle. Taken from another thread.
        workers: Processes; as many as there are cores by default.
        seconds: What an item may take, or a function that says so.
        in_order: Whether results come in the order of the items, instead of as they are made.

    Yields:
        Each item once, with its result or its failure.

    Raises:
        InputError: If there is to be less than one worker.
        RuntimeError: If a worker cannot import the function.

    Example:
        >>> for outcome in map_in_workers(abs, [-1, -2], workers=1, in_order=True):
        ...     print(outcome.item, outcome.result)
        -1 1
        -2 2
    """
    number = usable_cores() if workers is None else workers
    if number < 1:
        raise InputError(f"there must be at least 1 worker, got {number}")
    limit = seconds if callable(seconds) else _always(seconds)
    pool: _Pool[Item, Result] = _Pool(function, _Batches(items, limit), number, in_order=in_order)
    return pool.outcomes()


def _always(seconds: float) -> Callable[[Any], float]:
    return lambda _item: seconds


@dataclass(frozen=True)
class _Batch(Generic[Item]):
    start: int
    """Place of the first item among all."""
    items: list[Item]
    seconds: float
    """What each of them may take."""


class _Batches(Generic[Item]):
    """Hands out items, batch by batch; those of a batch share a time limit. Not for two threads.

    Args:
        items: What to hand out.
        limit: What an item may take.
    """

    def __init__(self, items: Iterable[Item], limit: Callable[[Item], float]) -> None:
        self._items = ((item, limit(item)) for item in items)
        self._ahead = next(self._items, None)
        self.taken = 0

    def take(self, most: int) -> _Batch[Item] | None:
        """The next items, at most so many; None at the end."""
        if self._ahead is None:
            return None
        seconds = self._ahead[1]
        taken: list[Item] = []
        while self._ahead is not None and self._ahead[1] == seconds and len(taken) < most:
            taken.append(self._ahead[0])
            self._ahead = next(self._items, None)
        batch = _Batch(self.taken, taken, seconds)
        self.taken += len(taken)
        return batch


Placed = tuple[int, TaskResult[Item, Result]]


class _OverError(Exception):
    """The pool was ended from outside."""


class _Pool(Generic[Item, Result]):
    """Lanes, each with a worker of its own, and the queue in which their outcomes meet.

    Ctrl-C may interrupt the caller's thread anywhere, also between taking a lock and knowing that
    it has it. So that thread takes none while results come: it uses queues written in C alone.
    """

    def __init__(
        self,
        function: Callable[[Item], Result],
        batches: _Batches[Item],
        workers: int,
        *,
        in_order: bool,
    ) -> None:
        self._function = function
        self._batches = batches
        self._in_order = in_order
        self._made: queue.SimpleQueue[list[Placed[Item, Result]] | BaseException | None]
        self._made = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(2 * workers):
            self._room.put(None)
        self._taking, self._starting = threading.Lock(), threading.Lock()
        self._is_over = False
        self._delivered = 0
        self._lanes: list[_Lane[Item, Result]] = [_Lane(self) for _ in range(workers)]

    def outcomes(self) -> Generator[TaskResult[Item, Result], None, None]:
        """Everything; the workers end with it."""
        try:
            for lane in self._lanes:
                lane.start()
            yield from self._sorted() if self._in_order else self._as_made()
        finally:
            self._end()

    def _chunks(self) -> Iterator[list[Placed[Item, Result]]]:
        running = len(self._lanes)
        while running:
            try:
                made = self._made.get(timeout=_HEARTBEAT_SECONDS)
            except queue.Empty:
                continue  # on Windows, waiting without end would not hear Ctrl-C
            if made is None:
                running -= 1
            elif isinstance(made, BaseException):
                raise made
            else:
                self._room.put(None)
                yield made

    def _as_made(self) -> Iterator[TaskResult[Item, Result]]:
        for chunk in self._chunks():
            for _, outcome in chunk:
                yield outcome

    def _sorted(self) -> Iterator[TaskResult[Item, Result]]:
        waiting: dict[int, TaskResult[Item, Result]] = {}
        place = 0
        for chunk in self._chunks():
            waiting.update(chunk)
            while place in waiting:
                yield waiting.pop(place)
                place += 1
                self._delivered = place

    def _end(self) -> None:
        self._is_over = True
        with self._starting:
            for lane in self._lanes:
                lane.kill()
        for lane in self._lanes:
            while lane.is_alive() and not sys.is_finalizing():  # then it never runs again
                self._room.put(None)  # the lane may wait for it
                lane.join(timeout=0.02)

    def take(self, most: int) -> _Batch[Item] | None:
        """The next batch for a lane, None when there is none; waits for what is too far ahead."""
        with self._taking:
            while not self._may_take():
                time.sleep(_LOOK_SECONDS)
            return None if self._is_over else self._batches.take(most)

    def _may_take(self) -> bool:
        ahead = self._batches.taken - self._delivered
        return self._is_over or not self._in_order or ahead < _LOOK_AHEAD

    def hand_in(self, made: list[Placed[Item, Result]] | BaseException | None) -> None:
        """Outcomes of a lane, an error that ends everything, or None as its last word."""
        if isinstance(made, list):
            self._room.get()
        self._made.put(made)

    def new_worker(self, lane: "_Lane[Item, Result]") -> WorkerProcess:
        """A worker for a lane.

        Raises:
            _OverError: If the pool has been ended.
        """
        with self._starting:
            if self._is_over:
                raise _OverError
            lane.worker = WorkerProcess(self._function)
            return lane.worker


class _Lane(threading.Thread, Generic[Item, Result]):
    """A thread that keeps one worker busy and replaces it when it is lost."""

    def __init__(self, pool: _Pool[Item, Result]) -> None:
        super().__init__(daemon=True)
        self._pool = pool
        self.worker: WorkerProcess | None = None

    def run(self) -> None:
        """Batches to the worker, outcomes to the pool."""
        size = 1
        try:
            while batch := self._pool.take(size):
                self._start()
                began = time.monotonic()
                self._work_off(batch)
                per_item = (time.monotonic() - began) / len(batch.items)
                fitting = int(_BATCH_SECONDS / max(per_item, 1e-6))
                size = max(1, min(fitting, 2 * size, _LARGEST_BATCH))
        except _OverError:
            pass  # nobody waits for more
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._pool.hand_in(error)
        finally:
            if self.worker is not None:
                self.worker.close()
            self._pool.hand_in(None)

    def kill(self) -> None:
        """End the worker at once; the thread follows."""
        if self.worker is not None:
            self.worker.kill()

    def _start(self) -> WorkerProcess:
        worker = self.worker or self._pool.new_worker(self)
        worker.start()
        return worker

    def _work_off(self, batch: _Batch[Item]) -> None:
        """A batch at once; after an accident, what was under way again, one by one."""
        done, failure = self._ask(batch.start, batch.items, batch.seconds)
        if failure is not None and len(batch.items) == 1:
            self._pool.hand_in([(batch.start, TaskResult(batch.items[0], None, failure))])
            return
        for place, item in enumerate(batch.items[done:], start=batch.start + done):
            self._work_off(_Batch(place, [item], batch.seconds))

    def _ask(self, start: int, items: Sequence[Item], seconds: float) -> tuple[int, Failure | None]:
        """How many items were answered, and what went wrong with the next ones, if anything did."""
        worker = self._start()
        done = 0
        try:
            for answers in worker.answers(items, seconds):
                named = enumerate(zip(items[done:], answers, strict=False), start=start + done)
                self._pool.hand_in([(place, _outcome(item, got)) for place, (item, got) in named])
                done += len(answers)
        except WorkerEndedError as error:
            self.worker = None
            return done, error.failure
        return done, None


def _outcome(item: Item, answer: Any) -> TaskResult[Item, Any]:  # noqa: ANN401 - of the function
    if isinstance(answer, Failure):
        return TaskResult(item, None, answer)
    return TaskResult(item, answer, None)
