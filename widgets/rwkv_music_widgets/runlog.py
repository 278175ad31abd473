"""Follows a run directory: new lines of metrics.jsonl, the status, the samples. No widgets here."""

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rwkv_music.training.run.background import TrainingRun
from rwkv_music.training.run.directory import RunDirectory

_STEPS_TO_JUDGE_BY = 50
"""Steps whose speed says how long the rest will take."""


class RunLog:
    """What a run has said so far; `refresh` reads on from where it stopped.

    A directory that is missing or half there is read as far as it goes. When a run goes on from a
    checkpoint, which drops the lines behind it, everything is read anew.

    Args:
        run: A run, or the path of its directory.
    """

    def __init__(self, run: TrainingRun | str | Path) -> None:
        self.run = run if isinstance(run, TrainingRun) else TrainingRun(run)
        self.directory: RunDirectory = self.run.directory
        self._session = 0
        self._forget()

    def _forget(self) -> None:
        self.train: list[tuple[float, float]] = []
        """(step, nats per completion token) of every training step."""
        self.valid: list[tuple[float, float]] = []
        """The same on the held-out pieces, at every evaluation."""
        self.samples: dict[int, list[Path]] = {}
        """Files of the completed samples, one a prompt, by step."""
        self.times: deque[tuple[int, float]] = deque(maxlen=_STEPS_TO_JUDGE_BY + 1)
        """(step, seconds from the beginning) of the last training steps that were told."""
        self.latest: dict[str, Any] = {}
        """The newest line of a training step."""
        self.latest_evaluation: dict[str, Any] = {}
        self._read_bytes = 0

    def refresh(self) -> bool:
        """Read what is new; True if there was anything."""
        path = self.directory.metrics_path
        if not path.exists():
            return False
        has_begun_anew = self._is_another_session()
        if has_begun_anew:
            self._forget()
        with path.open("rb") as lines:
            lines.seek(self._read_bytes)
            new = lines.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        for line in whole.splitlines():
            self._take(json.loads(line))
        return bool(whole) or has_begun_anew

    def _is_another_session(self) -> bool:
        """Whether the run was taken up again, or its log cut, since the last look."""
        config = self.config() or {}
        session = len(config.get("sessions", ()))
        is_shorter = self.directory.metrics_path.stat().st_size < self._read_bytes
        is_another = session != self._session and bool(self._read_bytes)
        self._session = session
        return is_another or is_shorter

    def _take(self, line: dict[str, Any]) -> None:
        step = line["step"]
        if "loss_train" in line:
            self.train.append((step, line["loss_train"]))
            self.latest = line
            if "elapsed_seconds" in line:
                self.times.append((step, line["elapsed_seconds"]))
        if "loss_valid" in line:
            self.valid.append((step, line["loss_valid"]))
            self.latest_evaluation = line
        # Runs of the first version completed one prompt.
        names = line.get("samples") or [name for name in [line.get("sample")] if name]
        if names:
            self.samples[step] = [self.directory.path / name for name in names]

    def status(self) -> dict[str, Any] | None:
        """The run's status; None while there is none."""
        return self.run.status() if self.directory.status_path.exists() else None

    def config(self) -> dict[str, Any] | None:
        """config.json; None while there is none."""
        return self.directory.config() if self.directory.config_path.exists() else None

    def baselines(self) -> dict[str, dict[str, Any]]:
        """What needs no training, by name, the worst first; empty while nothing is known."""
        found: dict[str, dict[str, Any]] = (self.config() or {}).get("baselines", {})
        return found


def packed_points(points: list[tuple[float, float]], most: int = 4000) -> bytes:
    """Points as pairs of 32-bit floats; of many, evenly spaced ones and the last."""
    if len(points) > most:
        kept = np.unique(np.linspace(0, len(points) - 1, most).astype(int))
        points = [points[place] for place in kept]
    return bytes(np.array(points, dtype="<f4").tobytes())


def seconds_left(log: RunLog, step: int, steps: int, describe: Callable[[float], str]) -> str:
    """How long the rest will take at the mean speed of the last steps; empty if unknown."""
    if not log.times:
        return ""
    # The first step counts from the beginning: there is no other to compare it with.
    first, began = log.times[0] if len(log.times) > 1 else (0, 0.0)
    last, now = log.times[-1]
    if last <= first or now <= began:
        return ""
    return describe((steps - step) * (now - began) / (last - first))
