"""Runs in a process of their own, and the handle that watches and controls them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rwkv_music.devices import TORCH_ENVIRONMENT
from rwkv_music.errors import InputError, TrainingFailedError
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.run import control
from rwkv_music.training.run.directory import FINAL_STATES, RunDirectory
from rwkv_music.training.run.process_identity import is_alive
from rwkv_music.training.run.resume import settings_of

_POLL_SECONDS = 0.1
_KILLED = -9


class TrainingRun:
    """A handle on a run; the run may belong to any process, or have ended.

    Args:
        path: The run directory.
        process: The training process, if it was started here.
    """

    def __init__(
        self, path: str | Path, *, process: "subprocess.Popen[bytes] | None" = None
    ) -> None:
        self.directory = RunDirectory(Path(path))
        self._process = process

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    def status(self) -> dict[str, Any]:
        """Return state, step, steps, message, process and device.

        The state is "preparing", "running", "paused", "stopping", "finished", "stopped" or
        "failed". A run whose process ended without writing so is reported as failed.
        """
        status = self.directory.status()
        if status["state"] not in FINAL_STATES and not self._process_is_alive(status):
            # It may have ended in between: the file then says so by now.
            status = self.directory.status()
            if status["state"] not in FINAL_STATES:
                return {**status, "state": "failed", "message": self._silent_end()}
        return status

    def _process_is_alive(self, status: dict[str, Any]) -> bool:
        if self._process is not None and self._process.pid == status["pid"]:
            return self._process.poll() is None
        return is_alive(status)

    def _silent_end(self) -> str:
        killed = self._process is not None and self._process.poll() == _KILLED
        how = "was killed (by a user, or for lack of memory)" if killed else "ended unexpectedly"
        steps = self.directory.checkpoints().steps()
        remedy = f"resume it from step {steps[-1]}" if steps else "start it again"
        return f"the training process {how}; see {self.directory.log_path}; {remedy}"

    @property
    def is_running(self) -> bool:
        """Whether more steps may follow; a paused run counts."""
        return self.status()["state"] not in FINAL_STATES

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl so far."""
        return self.directory.metrics()

    def pause(self) -> None:
        """Ask the trainer to finish its step, save and wait. Return immediately."""
        self.directory.control.ask(control.PAUSE)

    def resume(self) -> None:
        """Continue a paused run, or resume an ended one in a new process. Return immediately.

        A run that was stopped, failed or was killed resumes exactly from its newest checkpoint;
        without one it starts over and logs that.

        Raises:
            InputError: If it cannot be resumed: finished, or made by an older version.
        """
        if self.is_running:
            self.directory.control.ask(control.RESUME)
            return
        status = self.directory.status()
        if status["state"] == "finished":
            raise InputError(
                f"{self.path} is finished: its {status['step']} steps are taken; begin a new run"
            )
        self._process = _start(settings_of(self.path), resume=True)
        self.directory.write_status(
            "preparing",
            step=status["step"],
            steps=status["steps"],
            message="starting again",
            session=status.get("session", 1) + 1,
            process_id=self._process.pid,
        )

    def stop(self) -> None:
        """Ask the trainer to finish its step, save and end. Return immediately."""
        self.directory.control.ask(control.STOP)

    def save(self) -> None:
        """Ask the trainer to save a checkpoint after this step. Return immediately."""
        self.directory.control.ask(control.SAVE)

    def sample_now(self) -> None:
        """Ask the trainer to complete the held-out prompts after this step. Return immediately."""
        self.directory.control.ask(control.SAMPLE)

    def wait(self, timeout_seconds: float | None = None) -> dict[str, Any]:
        """Wait until the run has ended and return its last status, "finished" or "stopped".

        Raises:
            TrainingFailedError: If it failed; names the cause, the remedy and the last checkpoint.
            TimeoutError: If it has not ended in time; it continues.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while self.is_running:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{self.path} has not ended after {timeout_seconds} seconds")
            time.sleep(_POLL_SECONDS)
        if self._process is not None:
            self._process.wait()
        status = self.status()
        if status["state"] == "failed":
            raise TrainingFailedError(status["message"])
        return status


def start_training(config: TrainingConfig) -> TrainingRun:
    """Start a run in a process of its own and return immediately.

    The process outlives a restart of the notebook's kernel; `attach` finds it again.

    Raises:
        InputError: If the run directory contains a run already or cannot be written to.

    Example:
        >>> run = start_training(TrainingConfig.preset("tiny", corpus="bach", out="runs/try"))
        ... # doctest: +SKIP
    """
    directory = RunDirectory(config.out_path).create()
    process = _start(config, resume=False)
    # The status names the new process even if this one ends before it has written anything.
    directory.write_status("preparing", message="starting", process_id=process.pid)
    return TrainingRun(directory.path, process=process)


def _start(config: TrainingConfig, *, resume: bool) -> "subprocess.Popen[bytes]":
    """Start the training process; its output is appended to the run's log."""
    environment = {**TORCH_ENVIRONMENT, **os.environ}
    arguments = [json.dumps(config.to_dict()), *(["resume"] if resume else [])]
    with RunDirectory(config.out_path).log_path.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "rwkv_music.training", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def attach(path: str | Path) -> TrainingRun:
    """Return a handle on a run, whether it is running or has ended.

    Raises:
        InputError: If the directory holds no run.
    """
    run = TrainingRun(path)
    if not run.directory.exists():
        raise InputError(f"{path} holds no run (no status.json): check the path")
    return run
