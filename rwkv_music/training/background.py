"""Runs in a process of their own, and the handle that watches and steers them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from rwkv_music.errors import InputError
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.run import FINAL_STATES, RunDirectory

_POLL_SECONDS = 0.1


class TrainingRun:
    """A run seen through its directory; it may belong to any process, or be over.

    Args:
        path: The run directory.
        process: The process that trains, when it was started here.
    """

    def __init__(
        self, path: str | Path, *, process: "subprocess.Popen[bytes] | None" = None
    ) -> None:
        self.directory = RunDirectory(path)
        self._process = process

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    def status(self) -> dict[str, Any]:
        """State, step, steps, message, pid and device.

        A run whose process is gone without having said so is reported as failed.
        """
        status = self.directory.status()
        if status["state"] not in FINAL_STATES and not self._process_is_alive(status["pid"]):
            # It may have ended between the two looks: the file then says so by now.
            status = self.directory.status()
            if status["state"] not in FINAL_STATES:
                message = (
                    f"the training process ended without a word; see {self.directory.log_path}"
                )
                return {**status, "state": "failed", "message": message}
        return status

    def _process_is_alive(self, pid: int) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        exists: bool = psutil.pid_exists(pid)
        return exists

    @property
    def is_running(self) -> bool:
        """Whether steps may still follow."""
        return self.status()["state"] not in FINAL_STATES

    def metrics(self) -> list[dict[str, Any]]:
        """Every line of metrics.jsonl so far."""
        return self.directory.metrics()

    def stop(self) -> None:
        """Ask the trainer to finish its step, save and end. Returns at once."""
        self.directory.ask_to_stop()

    def wait(self, timeout_seconds: float | None = None) -> dict[str, Any]:
        """Wait until the run is over and return its last status.

        Raises:
            TimeoutError: If it is not over in time; it goes on.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while self.is_running:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{self.path} is not over after {timeout_seconds} seconds")
            time.sleep(_POLL_SECONDS)
        if self._process is not None:
            self._process.wait()
        return self.status()


def start_training(config: TrainingConfig) -> TrainingRun:
    """Start a run in a process of its own and return at once.

    The process outlives a restart of the notebook's kernel; `attach` finds it again.

    Raises:
        InputError: If the run directory is taken or cannot be written.

    Example:
        >>> run = start_training(TrainingConfig.preset("tiny", corpus="bach", out="runs/try"))
        ... # doctest: +SKIP
    """
    directory = RunDirectory.create(config.out_path)
    # Idle OpenMP threads that spin slow a shared machine down many times over.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    with directory.log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "rwkv_music.training.worker", json.dumps(config.to_dict())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    # Should this process end before the other has said a word, the run is still known to be alive.
    directory.write_status("preparing", message="starting", process_id=process.pid)
    return TrainingRun(directory.path, process=process)


def attach(path: str | Path) -> TrainingRun:
    """A handle on a run that somebody started, is running, or finished.

    Raises:
        InputError: If the directory holds no run.
    """
    run = TrainingRun(path)
    if not run.directory.status_path.exists():
        raise InputError(f"{path} holds no run (no status.json): check the path")
    return run
