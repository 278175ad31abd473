"""Runs in a process of their own, and the handle that watches and steers them."""

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
        """State, step, steps, message, process and device.

        The state is "preparing", "running", "paused", "stopping", "finished", "stopped" or
        "failed". A run whose process is gone without having said so is reported as failed.
        """
        status = self.directory.status()
        if status["state"] not in FINAL_STATES and not self._process_is_alive(status):
            # It may have ended between the two looks: the file then says so by now.
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
        how = (
            "was killed (by somebody, or for want of memory)" if killed else "ended without a word"
        )
        steps = self.directory.checkpoints().steps()
        remedy = f"go on from step {steps[-1]} with resume" if steps else "start it again"
        return f"the training process {how}; see {self.directory.log_path}; {remedy}"

    @property
    def is_running(self) -> bool:
        """Whether steps may still follow; a paused run counts."""
        return self.status()["state"] not in FINAL_STATES

    def metrics(self) -> list[dict[str, Any]]:
        """Every line of metrics.jsonl so far."""
        return self.directory.metrics()

    def pause(self) -> None:
        """Ask the trainer to finish its step, save, and wait. Returns at once."""
        self.directory.control.ask(control.PAUSE)

    def resume(self) -> None:
        """Let a paused run go on; one that is over goes on in a new process. Returns at once.

        A run that was stopped, failed or was killed goes on from its newest checkpoint, exactly as
        if nothing had happened; without one it starts over and says so in its log.

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
        """Ask the trainer to finish its step, save and end. Returns at once."""
        self.directory.control.ask(control.STOP)

    def save(self) -> None:
        """Ask the trainer for a checkpoint after this step. Returns at once."""
        self.directory.control.ask(control.SAVE)

    def sample_now(self) -> None:
        """Ask the trainer to complete the held-out prompts after this step. Returns at once."""
        self.directory.control.ask(control.SAMPLE)

    def wait(self, timeout_seconds: float | None = None) -> dict[str, Any]:
        """Wait until the run is over and return its last status, "finished" or "stopped".

        Raises:
            TrainingFailedError: If it failed; one line with the cause, the remedy and what is kept.
            TimeoutError: If it is not over in time; it goes on.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while self.is_running:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{self.path} is not over after {timeout_seconds} seconds")
            time.sleep(_POLL_SECONDS)
        if self._process is not None:
            self._process.wait()
        status = self.status()
        if status["state"] == "failed":
            raise TrainingFailedError(status["message"])
        return status


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
    process = _start(config, resume=False)
    # Should this process end before the other has said a word, the run is still known to be alive.
    directory.write_status("preparing", message="starting", process_id=process.pid)
    return TrainingRun(directory.path, process=process)


def _start(config: TrainingConfig, *, resume: bool) -> "subprocess.Popen[bytes]":
    """The process that trains; what it prints is appended to the run's log."""
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
    """A handle on a run that somebody started, is running, or finished.

    Raises:
        InputError: If the directory holds no run.
    """
    run = TrainingRun(path)
    if not run.directory.exists():
        raise InputError(f"{path} holds no run (no status.json): check the path")
    return run
