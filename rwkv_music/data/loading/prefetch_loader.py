"""Make batches ahead of time in a thread, so that the device does not wait for them."""

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
    """An endless iterator of batches whose position can be saved."""

    def position(self) -> dict[str, Any]:
        """Return the position of the next batch in JSON values."""

    def seek(self, position: dict[str, Any]) -> None:
        """Go to a `position`."""


class PrefetchLoader(Iterator[Batch]):
    """The batches of another loader in the same order, the next few of them made in advance.

    `position` is that of the next batch to be returned, not of the next one to be made: a run that
    resumes there repeats and skips none. For a GPU, batches are copied to pinned memory and then to
    the device before they are asked for.

    Args:
        loader: The loader. Nothing else may use it in the meantime.
        ahead: Maximum number of batches in advance.
        device: Device of the returned batches; no copy is made for a CPU.

    Example:
        with PrefetchLoader(WindowLoader(...), device="cuda") as batches:
            for metrics in Trainer(model, batches, config): ...
    """

    def __init__(
        self, loader: BatchLoader, *, ahead: int = 4, device: torch.device | str = "cpu"
    ) -> None:
        assert ahead >= 1
        self._loader = loader
        self._ahead = ahead
        self._device = torch.device(device)
        self._position = loader.position()
        self._worker: _Prefetcher | None = None

    def __next__(self) -> Batch:
        """Return the next batch.

        Raises:
            Exception: Any exception of the loader while it made this batch; raised again on each
                call until `seek` or `close`.
        """
        if self._worker is None:
            self._worker = _Prefetcher(self._loader, self._ahead, self._device)
        batch, self._position = self._worker.take()
        return batch

    def position(self) -> dict[str, Any]:
        """Return the position of the next batch in JSON values."""
        return self._position

    def seek(self, position: dict[str, Any]) -> None:
        """Go to a `position`; batches made in advance are discarded."""
        self.close()
        self._loader.seek(position)
        self._position = position

    def close(self) -> None:
        """End the thread. Iteration can continue with the same next batch."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None
            self._loader.seek(self._position)

    def __enter__(self) -> "PrefetchLoader":
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Prefetcher:
    """A thread that takes batches from a loader, with the position after each."""

    def __init__(self, loader: BatchLoader, ahead: int, device: torch.device) -> None:
        self._loader = loader
        self._device = device
        self._ready: queue.Queue[tuple[Batch, dict[str, Any]] | Exception] = queue.Queue(ahead)
        self._error: Exception | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def take(self) -> tuple[Batch, dict[str, Any]]:
        if self._error is None:
            item = self._ready.get()
            if not isinstance(item, Exception):
                return item
            self._error = item  # the thread has ended
        raise self._error

    def end(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.is_set():
            item: tuple[Batch, dict[str, Any]] | Exception
            try:
                item = self._next()
            except Exception as error:  # noqa: BLE001 - raised again in `take`
                item = error
            self._put(item)
            if isinstance(item, Exception):
                return

    def _next(self) -> tuple[Batch, dict[str, Any]]:
        batch = next(self._loader)
        if self._device.type == "cuda":
            batch = batch.pin_memory().to(self._device, non_blocking=True)
        return batch, self._loader.position()

    def _put(self, item: tuple[Batch, dict[str, Any]] | Exception) -> None:
        while not self._is_over.is_set():
            try:
                self._ready.put(item, timeout=_PUT_SECONDS)
            except queue.Full:
                continue
            return
