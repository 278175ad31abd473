"""What a running trainer writes for its viewers: status, log, metrics and notes."""

import errno
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, TypeVar

from rwkv_music.training.callbacks import Callbacks
from rwkv_music.training.monitoring.loggers import MetricsLogger
from rwkv_music.training.run.directory import RunDirectory

Value = TypeVar("Value")

_STATUS_SECONDS = 0.5
_TERMINAL_GONE = {errno.EIO, errno.EPIPE, errno.EBADF}


@dataclass
class RunReporter:
    """Writes status, log and metrics of a run, and calls the caller's callbacks."""

    directory: RunDirectory
    callbacks: Callbacks
    """The caller's functions."""
    _: KW_ONLY
    num_steps: int
    """The last step."""
    device: str
    """The device that trains."""
    step: int = 0
    """The step that the run has reached."""
    session: int = 1
    """How many times the run was started, this one included."""
    logger: MetricsLogger = field(default_factory=MetricsLogger)
    """An experiment logger that also receives each line of metrics."""
    _status_written: float = 0.0
    _terminal_is_gone: bool = False

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
            steps=self.num_steps,
            message=message,
            device=self.device,
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
        self.logger.log(line)

    def end(self, state: str, message: str = "") -> None:
        """Write how the run ended to log and status."""
        self.directory.log(f"{state} after step {self.step}{': ' if message else ''}{message}")
        self.write_status(state, message)
