"""Reads a run directory as it grows: new lines of metrics.jsonl, the status, the samples."""

import json
import math
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rwkv_music.old_names import STEP_METRICS, renamed
from rwkv_music.training.run.background import TrainingRun
from rwkv_music.training.run.directory import RunDirectory

_SPEED_STEPS = 50
"""Number of recent steps from which the remaining time is estimated."""


class RunLog:
    """The metrics of a run so far; `refresh` reads on from where it stopped.

    A directory that is missing or incomplete is read as far as possible, and a damaged line is
    skipped. When a run resumes from a checkpoint, which drops later lines, all lines are read
    again.

    Args:
        run: A run, or the path of its directory.
    """

    def __init__(self, run: TrainingRun | str | Path) -> None:
        self.run = run if isinstance(run, TrainingRun) else TrainingRun(run)
        self.directory: RunDirectory = self.run.directory
        self._session = 0
        self._clear()

    def _clear(self) -> None:
        self.train: list[tuple[float, float]] = []
        """(step, nats per completion token) of every training step."""
        self.valid: list[tuple[float, float]] = []
        """The same on the held-out pieces, for every evaluation."""
        self.samples: dict[int, list[Path]] = {}
        """Files of the completed samples, one per prompt, by step."""
        self.times: deque[tuple[int, float]] = deque(maxlen=_SPEED_STEPS + 1)
        """(step, seconds since the start) of the most recent training steps."""
        self.latest: dict[str, Any] = {}
        """Newest line of a training step."""
        self.latest_evaluation: dict[str, Any] = {}
        """Newest line of an evaluation."""
        self.num_damaged_lines = 0
        """Lines of metrics.jsonl that were skipped."""
        self._read_bytes = 0

    def refresh(self) -> bool:
        """Read new lines; return whether there were any."""
        path = self.directory.metrics_path
        if not path.is_file():
            return False
        is_new_session = self._is_new_session()
        if is_new_session:
            self._clear()
        with path.open("rb") as file:
            file.seek(self._read_bytes)
            new = file.read()
        complete = new[: new.rfind(b"\n") + 1]
        self._read_bytes += len(complete)
        for line in complete.splitlines():
            metrics = _parsed(line)
            if metrics is None:
                self.num_damaged_lines += 1
            else:
                self._add(renamed(metrics, STEP_METRICS))
        return bool(complete) or is_new_session

    def _is_new_session(self) -> bool:
        """Return whether the run was resumed, or its metrics truncated, since the last refresh."""
        session = len(self._config_value("sessions", list))
        is_shorter = self.directory.metrics_path.stat().st_size < self._read_bytes
        is_resumed = session != self._session and bool(self._read_bytes)
        self._session = session
        return is_resumed or is_shorter

    def _add(self, metrics: dict[str, Any]) -> None:
        step = metrics["step"]
        if is_number(metrics.get("loss_train")):
            self.train.append((step, metrics["loss_train"]))
            self.latest = metrics
            if is_number(metrics.get("elapsed_seconds")):
                self.times.append((step, metrics["elapsed_seconds"]))
        if is_number(metrics.get("loss_valid")):
            self.valid.append((step, metrics["loss_valid"]))
            self.latest_evaluation = metrics
        # Runs of the first version completed one prompt.
        names = metrics.get("samples") or [name for name in [metrics.get("sample")] if name]
        paths = [path for name in names if (path := self._sample_path(name)) is not None]
        if paths:
            self.samples[step] = paths

    def _sample_path(self, name: object) -> Path | None:
        """Return the path of a sample; None for a name that is not a file of `samples/`."""
        if not isinstance(name, str):
            return None
        path = Path(name)
        is_sample = len(path.parts) == 2 and path.parts[0] == "samples" and path.parts[1] != ".."
        return self.directory.path / path if is_sample else None

    def status(self) -> dict[str, Any] | None:
        """Return the run's status; None if there is none."""
        return self.run.status() if self.directory.status_path.exists() else None

    def config(self) -> dict[str, Any] | None:
        """Return config.json; None if there is none."""
        return self.directory.config() if self.directory.config_path.exists() else None

    def baselines(self) -> dict[str, dict[str, Any]]:
        """Return the measured baselines by name, the worst first; empty if there are none."""
        baselines = self._config_value("baselines", dict)
        return {
            str(name): values
            for name, values in baselines.items()
            if isinstance(values, dict) and is_number(values.get("nats_per_token"))
        }

    def sample_descriptions(self) -> list[dict[str, Any]]:
        """Return what config.json says about each sample prompt."""
        descriptions: list[dict[str, Any]] = self._config_value("samples", list)
        return descriptions

    def _config_value(self, key: str, kind: type) -> Any:
        """Return a list or dictionary of config.json; an empty one if it is missing."""
        value = (self.config() or {}).get(key)
        return value if isinstance(value, kind) else kind()


def is_number(value: object) -> bool:
    """Return whether a value from a run's files is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return a line of metrics.jsonl; None if it is damaged."""
    try:
        metrics = json.loads(line)
    except ValueError:
        return None
    if isinstance(metrics, dict) and isinstance(metrics.get("step"), int):
        return metrics
    return None


def seconds_left(log: RunLog, step: int, steps: int, describe: Callable[[float], str]) -> str:
    """Return how long the rest takes at the speed of the recent steps; empty if unknown."""
    if not log.times:
        return ""
    # The first step is counted from the start, since there is no earlier one to compare with.
    first_step, first_time = log.times[0] if len(log.times) > 1 else (0, 0.0)
    last_step, last_time = log.times[-1]
    if last_step <= first_step or last_time <= first_time:
        return ""
    return describe((steps - step) * (last_time - first_time) / (last_step - first_step))
