"""Apply a function to many items in worker processes, any of which may be lost.

An item that crashes its process, is killed with it, or takes too long affects no other item: the
process is replaced, and the items it was given are tried again one by one, so that the cause is
known for certain.
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
"""Called with the number of finished items, the number of all items, and the last item's name."""

_BATCH_SECONDS = 0.1
_MAX_BATCH = 64
_MAX_AHEAD = 2048
"""Items in progress, or waiting for an earlier one, when results are returned in order."""
_POLL_SECONDS = 0.005
_WAKE_SECONDS = 0.5


@dataclass(frozen=True)
class TaskResult(Generic[Item, Result]):
    """Result or failure of an item."""

    item: Item
    result: Result | None
    """None if there is a failure (or the function returned None)."""
    failure: Failure | None


def usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
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
    """Apply a function to many items in worker processes; yield results as they are made.

    Memory does not grow with the number of items: items are taken as needed, and workers wait while
    the caller is busy. Closing the iterator ends the workers; use `contextlib.closing` where an
    exception such as Ctrl-C may leave the loop.

    Args:
        function: A function that can be imported by name, or an object that can be pickled; see
            `WorkerProcess`.
        items: Items that can be pickled. They are taken in another thread.
        workers: Number of processes; one per core when None.
        seconds: Time limit per item, or a function that returns it.
        in_order: Whether results are yielded in the order of the items.

    Yields:
        Each item once, with its result or its failure.

    Raises:
        InputError: If `workers` is below 1.
        RuntimeError: If a worker cannot import the function.

    Example:
        >>> for task in map_in_workers(abs, [-1, -2], workers=1, in_order=True):
        ...     print(task.item, task.result)
        -1 1
        -2 2
    """
    num_workers = usable_cores() if workers is None else workers
    if num_workers < 1:
        raise InputError(f"workers must be at least 1, got {num_workers}")
    limit = seconds if callable(seconds) else _constant(seconds)
    batches = _Batches(items, limit)
    pool: _Pool[Item, Result] = _Pool(function, batches, num_workers, in_order=in_order)
    return pool.results()


def _constant(seconds: float) -> Callable[[Any], float]:
    return lambda _item: seconds


@dataclass(frozen=True)
class _Batch(Generic[Item]):
    start: int
    """Index of the first item among all items."""
    items: list[Item]
    seconds: float
    """Time limit per item."""


class _Batches(Generic[Item]):
    """Divides items into batches with the same time limit. Not thread-safe.

    Args:
        items: All items.
        limit: Returns the time limit of an item.
    """

    def __init__(self, items: Iterable[Item], limit: Callable[[Item], float]) -> None:
        self._items = ((item, limit(item)) for item in items)
        self._ahead = next(self._items, None)
        self.taken = 0

    def take(self, max_items: int) -> _Batch[Item] | None:
        """Return the next batch of at most `max_items`; None at the end."""
        if self._ahead is None:
            return None
        seconds = self._ahead[1]
        taken: list[Item] = []
        while self._ahead is not None and self._ahead[1] == seconds and len(taken) < max_items:
            taken.append(self._ahead[0])
            self._ahead = next(self._items, None)
        batch = _Batch(self.taken, taken, seconds)
        self.taken += len(taken)
        return batch


IndexedResult = tuple[int, TaskResult[Item, Result]]


class _PoolClosedError(Exception):
    """The pool has been closed by the caller."""


class _Pool(Generic[Item, Result]):
    """Threads with one worker each, and the queue in which their results meet.

    Ctrl-C may interrupt the caller's thread anywhere, also between acquiring a lock and recording
    that. While results are yielded, that thread therefore acquires no lock: it uses queues that are
    implemented in C.
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
        self._made: queue.SimpleQueue[list[IndexedResult[Item, Result]] | BaseException | None]
        self._made = queue.SimpleQueue()
        self._slots: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(2 * workers):
            self._slots.put(None)
        self._taking, self._starting = threading.Lock(), threading.Lock()
        self._is_closed = False
        self._yielded = 0
        self._threads: list[_WorkerThread[Item, Result]] = [
            _WorkerThread(self) for _ in range(workers)
        ]

    def results(self) -> Generator[TaskResult[Item, Result], None, None]:
        """Yield all results, then end the workers."""
        try:
            for thread in self._threads:
                thread.start()
            yield from self._sorted() if self._in_order else self._as_made()
        finally:
            self._close()

    def _chunks(self) -> Iterator[list[IndexedResult[Item, Result]]]:
        running = len(self._threads)
        while running:
            try:
                made = self._made.get(timeout=_WAKE_SECONDS)
            except queue.Empty:
                continue  # on Windows, Ctrl-C does not interrupt waiting without a timeout
            if made is None:
                running -= 1
            elif isinstance(made, BaseException):
                raise made
            else:
                self._slots.put(None)
                yield made

    def _as_made(self) -> Iterator[TaskResult[Item, Result]]:
        for chunk in self._chunks():
            for _, task in chunk:
                yield task

    def _sorted(self) -> Iterator[TaskResult[Item, Result]]:
        waiting: dict[int, TaskResult[Item, Result]] = {}
        index = 0
        for chunk in self._chunks():
            waiting.update(chunk)
            while index in waiting:
                yield waiting.pop(index)
                index += 1
                self._yielded = index

    def _close(self) -> None:
        self._is_closed = True
        with self._starting:
            for thread in self._threads:
                thread.kill()
        for thread in self._threads:
            # While the interpreter shuts down, the thread never runs again.
            while thread.is_alive() and not sys.is_finalizing():
                self._slots.put(None)  # the thread may wait for it
                thread.join(timeout=0.02)

    def take(self, max_items: int) -> _Batch[Item] | None:
        """Return the next batch for a worker, None at the end; wait if it is too far ahead."""
        with self._taking:
            while not self._may_take():
                time.sleep(_POLL_SECONDS)
            return None if self._is_closed else self._batches.take(max_items)

    def _may_take(self) -> bool:
        ahead = self._batches.taken - self._yielded
        return self._is_closed or not self._in_order or ahead < _MAX_AHEAD

    def put(self, made: list[IndexedResult[Item, Result]] | BaseException | None) -> None:
        """Add results, an exception that ends the pool, or None when a thread ends."""
        if isinstance(made, list):
            self._slots.get()
        self._made.put(made)

    def new_worker(self, thread: "_WorkerThread[Item, Result]") -> WorkerProcess:
        """Return a new worker for a thread.

        Raises:
            _PoolClosedError: If the pool has been closed.
        """
        with self._starting:
            if self._is_closed:
                raise _PoolClosedError
            thread.worker = WorkerProcess(self._function)
            return thread.worker


class _WorkerThread(threading.Thread, Generic[Item, Result]):
    """A thread that keeps one worker busy and replaces it when it is lost."""

    def __init__(self, pool: _Pool[Item, Result]) -> None:
        super().__init__(daemon=True)
        self._pool = pool
        self.worker: WorkerProcess | None = None

    def run(self) -> None:
        """Pass batches to the worker and results to the pool."""
        size = 1
        try:
            while batch := self._pool.take(size):
                self._start()
                began = time.monotonic()
                self._process(batch)
                per_item = (time.monotonic() - began) / len(batch.items)
                fitting = int(_BATCH_SECONDS / max(per_item, 1e-6))
                size = max(1, min(fitting, 2 * size, _MAX_BATCH))
        except _PoolClosedError:
            pass  # no more results are wanted
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._pool.put(error)
        finally:
            if self.worker is not None:
                self.worker.close()
            self._pool.put(None)

    def kill(self) -> None:
        """Kill the worker; the thread ends soon after."""
        if self.worker is not None:
            self.worker.kill()

    def _start(self) -> WorkerProcess:
        worker = self.worker or self._pool.new_worker(self)
        worker.start()
        return worker

    def _process(self, batch: _Batch[Item]) -> None:
        """Process a batch; after a failure, process its remaining items one by one."""
        done, failure = self._ask(batch.start, batch.items, batch.seconds)
        if failure is not None and len(batch.items) == 1:
            self._pool.put([(batch.start, TaskResult(batch.items[0], None, failure))])
            return
        for index, item in enumerate(batch.items[done:], start=batch.start + done):
            self._process(_Batch(index, [item], batch.seconds))

    def _ask(self, start: int, items: Sequence[Item], seconds: float) -> tuple[int, Failure | None]:
        """Return how many items were answered, and the failure that ended the worker, if any."""
        worker = self._start()
        done = 0
        try:
            for answers in worker.answers(items, seconds):
                pairs = enumerate(zip(items[done:], answers, strict=False), start=start + done)
                self._pool.put([(index, _result(item, answer)) for index, (item, answer) in pairs])
                done += len(answers)
        except WorkerEndedError as error:
            self.worker = None
            return done, error.failure
        return done, None


def _result(item: Item, answer: Any) -> TaskResult[Item, Any]:  # noqa: ANN401 - the function's type
    if isinstance(answer, Failure):
        return TaskResult(item, None, answer)
    return TaskResult(item, answer, None)
