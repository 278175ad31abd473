"""Closing the terminal of `rwkv-music train` saves the run, as SIGTERM does."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rwkv_music.score import save_score
from rwkv_music.training.run.directory import RunDirectory
from tests.music import tune

if sys.platform == "win32":
    pytest.skip("Windows has no terminals of this kind", allow_module_level=True)

import pty

WAIT_SECONDS = 120
_TAKE_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests run under nohup
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes stdin the terminal that controls the process, then runs the command."""


def start_in_terminal(command: list[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start a command in a terminal of its own; return it and the terminal's other end."""
    ours, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _TAKE_TERMINAL, *command],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    os.set_blocking(ours, False)
    return process, ours


def test_closing_the_terminal_saves_the_run(tmp_path: Path) -> None:
    for seed in range(6):
        save_score(tune(bars=4, seed=seed), tmp_path / "tunes" / f"{seed}.mid")
    run = RunDirectory(tmp_path / "run")
    settings = ["--preset", "tiny", "--steps", "100000", "--evaluate-every", "100000"]
    command = [sys.executable, "-m", "rwkv_music", "train", "--device", "cpu", *settings]
    process, terminal = start_in_terminal(
        [*command, "--corpus", str(tmp_path / "tunes"), "--out", str(run.path)]
    )
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while not (run.metrics_path.exists() and len(run.metrics()) > 3):
            assert process.poll() is None, "the command ended before it took a step"
            assert time.monotonic() < deadline
            try:
                os.read(terminal, 65536)
            except BlockingIOError:
                time.sleep(0.05)
        os.close(terminal)
        process.wait(timeout=WAIT_SECONDS)
    finally:
        process.kill()
        process.wait()
    status = run.status()
    assert status["state"] == "stopped"
    assert run.checkpoints().steps() == [status["step"]]
    assert run.metrics()[-1]["step"] == status["step"]
