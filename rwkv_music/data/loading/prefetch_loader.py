"""Batches made ahead of their time, in a thread, so that the device never waits for one."""

import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import torch

from rwkv_music.data.loading.collate import Batch

_PUT_SECONDS = 0.1


@runtime_checkable
class BatchLoader(Iterator[Batch], Protocol):
    """An endless stream of batches that knows its place."""

    def position(self) -> dict[str, Any]:
        """Where the next batch comes from, in values that JSON holds."""

    def seek(self, position: dict[str, Any]) -> None:
        """Go to a place that `position` told."""


class PrefetchLoader(Iterator[Batch]):
    """The same batches in the same order, the next few of them made beforehand.

    The place it tells is that of the next batch somebody will get, not of the next to be made: a
    run that goes on from there repeats none and leaves none out. For a GPU batches lie in pinned
    memory and are on their way to it before they are asked for.

    Args:
        stream: Where batches come from; nobody else may take from it meanwhile.
        ahead: Batches to have ready at most.
        device: Where they are wanted; on a CPU they stay where they are.

    Example:
        with PrefetchLoader(BatchStream(...), device="cuda") as batches:
            for report in Trainer(model, batches, config): ...
    """

    def __init__(
        self, stream: BatchLoader, *, ahead: int = 4, device: torch.device | str = "cpu"
    ) -> None:
        assert ahead >= 1
        self._stream = stream
        self._ahead = ahead
        self._device = torch.device(device)
        self._position = stream.position()
        self._worker: _Worker | None = None

    def __next__(self) -> Batch:
        """The next batch.

        Raises:
            Exception: Whatever the stream raised while it made this batch; again each time, until
                `seek` or `close`.
        """
        if self._worker is None:
            self._worker = _Worker(self._stream, self._ahead, self._device)
        made, self._position = self._worker.take()
        return made

    def position(self) -> dict[str, Any]:
        """Where the next batch comes from, in values that JSON holds."""
        return self._position

    def seek(self, position: dict[str, Any]) -> None:
        """Go to a place that `position` told; what was made ahead is thrown away."""
        self.close()
        self._stream.seek(position)
        self._position = position

    def close(self) -> None:
        """End the thread. The next batch asked for is still the next one."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None
            self._stream.seek(self._position)

    def __enter__(self) -> "PrefetchLoader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Worker:
    """A thread that takes batches from a stream and hands them over with the place behind each."""

    def __init__(self, stream: BatchLoader, ahead: int, device: torch.device) -> None:
        self._stream = stream
        self._device = device
        self._ready: queue.Queue[tuple[Batch, dict[str, Any]] | Exception] = queue.Queue(ahead)
        self._error: Exception | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def take(self) -> tuple[Batch, dict[str, Any]]:
        if self._error is None:
            found = self._ready.get()
            if not isinstance(found, Exception):
                return found
            self._error = found  # the thread has ended with it: nothing comes any more
        raise self._error

    def end(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.is_set():
            made: tuple[Batch, dict[str, Any]] | Exception
            try:
                made = self._next()
            except Exception as error:  # noqa: BLE001 - it is raised where the batch is asked for
                made = error
            self._hand_over(made)
            if isinstance(made, Exception):
                return

    def _next(self) -> tuple[Batch, dict[str, Any]]:
        batch = next(self._stream)
        if self._device.type == "cuda":
            batch = batch.pin_memory().to(self._device, non_blocking=True)
        return batch, self._stream.position()

    def _hand_over(self, made: tuple[Batch, dict[str, Any]] | Exception) -> None:
        while not self._is_over.is_set():
            try:
                self._ready.put(made, timeout=_PUT_SECONDS)
            except queue.Full:
                continue
            return
