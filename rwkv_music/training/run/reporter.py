"""What a running trainer writes for its viewers: status, log, metrics and notes."""

import errno
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rwkv_music.training.callbacks import Callbacks
from rwkv_music.training.run.directory import RunDirectory

Value = TypeVar("Value")

_STATUS_SECONDS = 0.5
_TERMINAL_GONE = {errno.EIO, errno.EPIPE, errno.EBADF}


class RunReporter:
    """Writes status, log and metrics of a run, and calls the caller's callbacks.

    Args:
        directory: The run directory.
        callbacks: The caller's functions.
        steps: Total number of steps.
        device: The device that trains.
        step: The step the run starts from.
    """

    def __init__(
        self,
        directory: RunDirectory,
        callbacks: Callbacks,
        *,
        steps: int,
        device: str,
        step: int = 0,
    ) -> None:
        self.directory = directory
        self.callbacks = callbacks
        self.step = step
        self.session = 1
        """How many times the run was started, this one included."""
        self.log_metrics_elsewhere: Callable[[Mapping[str, Any]], None] = lambda _: None
        """An experiment logger that also receives each line of metrics."""
        self._steps = steps
        self._device = device
        self._status_written = 0.0
        self._terminal_is_gone = False

    def note(self, text: str) -> None:
        """Write a sentence to the log and to the user."""
        self.directory.log(text)
        self.call(self.callbacks.on_note, text)

    def call(self, callback: Callable[[Value], None], value: Value) -> None:
        """Call one of the caller's functions; a terminal that is gone does not end the run."""
        try:
            callback(value)
        except OSError as error:
            if error.errno not in _TERMINAL_GONE:
                raise
            if not self._terminal_is_gone:
                self._terminal_is_gone = True
                self.directory.log("the terminal is gone: the run continues without it")

    def write_status(self, state: str, message: str = "") -> None:
        """Replace status.json."""
        self._status_written = time.perf_counter()
        self.directory.write_status(
            state,
            step=self.step,
            steps=self._steps,
            message=message,
            device=self._device,
            session=self.session,
        )

    def refresh_status(self, state: str, *, after_seconds: float = _STATUS_SECONDS) -> bool:
        """Replace status.json if it is older than that; return whether it was."""
        is_old = time.perf_counter() - self._status_written > after_seconds
        if is_old:
            self.write_status(state)
        return is_old

    def log_metrics(self, line: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl and pass it on to the experiment logger."""
        self.directory.append_metrics(line)
        self.log_metrics_elsewhere(line)

    def end(self, state: str, message: str = "") -> None:
        """Write how the run ended to log and status."""
        self.directory.log(f"{state} after step {self.step}{': ' if message else ''}{message}")
        self.write_status(state, message)
