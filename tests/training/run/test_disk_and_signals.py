"""Disks that refuse, directories that vanish and terminals that close."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rwkv_music.errors import InputError, TrainingFailedError
from rwkv_music.training import attach, train
from rwkv_music.training.callbacks import Callbacks
from rwkv_music.training.run import directory
from rwkv_music.training.run.directory import RunDirectory
from rwkv_music.training.run.stop_signals import stop_signals_handled
from rwkv_music.training.trainer import StepMetrics
from tests.training.conftest import NewConfig

SECONDS_AT_MOST = 120
CODES = [errno.EROFS, errno.ENOSPC, errno.ESTALE]
posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


def at_step(step: int, act: Any) -> Callbacks:
    def on_step(metrics: StepMetrics) -> None:
        if metrics.step == step:
            act()

    return Callbacks(on_step=on_step)


@pytest.mark.parametrize("code", CODES)
def test_a_disk_that_refuses_ends_the_run_with_one_sentence(
    code: int, new_config: NewConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = new_config(save_every=2)

    def refuse(_path: Path, *_: Any) -> None:
        raise OSError(code, os.strerror(code), str(config.out_path / "metrics.jsonl"))

    act = lambda: monkeypatch.setattr(RunDirectory, "append_metrics", refuse)  # noqa: E731
    with pytest.raises(TrainingFailedError) as failure:
        train(config, callbacks=at_step(4, act))
    assert f"metrics.jsonl ({os.strerror(code)}): " in str(failure.value)
    assert "step-000004.safetensors, is kept: resume from it" in str(failure.value)
    assert "\n" not in str(failure.value)
    monkeypatch.undo()
    assert train(config, resume=True).status()["state"] == "finished"


@pytest.mark.parametrize("code", CODES)
def test_a_directory_that_cannot_be_written_is_not_resumed_and_says_why(
    code: int, new_config: NewConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = new_config(steps=6)
    run = train(
        config, callbacks=at_step(3, lambda: RunDirectory(config.out_path).control.ask("stop"))
    )
    before = run.metrics_path.read_bytes()

    def refuse(path: Path, _content: bytes) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(directory, "write_atomic", refuse)
    with pytest.raises(InputError, match=rf"status\.json \({os.strerror(code)}\): "):
        train(config, resume=True)
    monkeypatch.undo()
    assert run.metrics_path.read_bytes() == before
    assert train(config, resume=True).status()["state"] == "finished"


@pytest.mark.parametrize("moved", [False, True])
def test_a_directory_that_vanishes_is_named_and_not_made_again(
    moved: bool, new_config: NewConfig, tmp_path: Path
) -> None:
    config = new_config()

    def vanish() -> None:
        if moved:
            config.out_path.rename(tmp_path / "elsewhere")
        else:
            shutil.rmtree(config.out_path)

    with pytest.raises(TrainingFailedError, match="the run directory was moved or deleted"):
        train(config, callbacks=at_step(4, vanish))
    assert not config.out_path.exists()
    assert train(config).status()["state"] == "finished"


def test_a_command_to_a_directory_that_vanished_is_one_sentence(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run").create()
    handle = attach(run.path)
    shutil.rmtree(run.path)
    with pytest.raises(InputError, match="check that the run directory exists"):
        handle.pause()
    with pytest.raises(InputError, match="holds no run"):
        handle.status()


@posix_only
@pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM", "SIGINT"])
def test_a_signal_finishes_the_step_and_saves(name: str, new_config: NewConfig) -> None:
    config = new_config(steps=9)
    signal_number = getattr(signal, name)
    run = train(config, callbacks=at_step(3, lambda: os.kill(os.getpid(), signal_number)))
    assert (run.status()["state"], run.checkpoints().steps()) == ("stopped", [3])
    assert train(config, resume=True).status()["state"] == "finished"


@posix_only
def test_a_second_sighup_does_not_interrupt_saving(new_config: NewConfig) -> None:
    def close_terminal() -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)

    run = train(new_config(), callbacks=at_step(3, close_terminal))
    assert (run.status()["state"], run.checkpoints().steps()) == ("stopped", [3])


@posix_only
def test_a_signal_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals_handled(lambda *_: pytest.fail("handled")):
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@posix_only
def test_closing_the_terminal_saves(tunes: Path, tmp_path: Path) -> None:
    import pty

    main, terminal = pty.openpty()
    arguments = ["--corpus", str(tunes), "--out", str(tmp_path / "run"), "--preset", "tiny"]
    more = ["--steps", "5000", "--evaluate-every", "5000", "--device", "cpu"]
    program = (
        "import fcntl, runpy, termios\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"  # the controlling terminal of its session
        "runpy.run_module('rwkv_music', run_name='__main__')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "train", *arguments, *more],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    deadline = time.monotonic() + SECONDS_AT_MOST
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists() or metrics.stat().st_size < 1000:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.close(main)  # the kernel sends SIGHUP, and every later write to the terminal fails
    process.wait(SECONDS_AT_MOST)
    run = RunDirectory(tmp_path / "run")
    assert run.status()["state"] == "stopped"
    assert run.checkpoints().steps() == [run.metrics()[-1]["step"]]


def test_callbacks_of_a_terminal_that_is_gone_do_not_end_the_run(new_config: NewConfig) -> None:
    def on_step(_metrics: StepMetrics) -> None:
        raise OSError(errno.EIO, "Input/output error")

    run = train(new_config(), callbacks=Callbacks(on_step=on_step))
    assert run.status()["state"] == "finished"
    assert run.log_path.read_text("utf-8").count("the terminal is gone") == 1
