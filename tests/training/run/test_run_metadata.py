"""What config.json calls the run's command does the run again."""

import shlex
import shutil
import subprocess
import sys

import pytest

from rwkv_music.training import TrainingConfig, attach, start_training
from rwkv_music.training.run.run_metadata import command_of
from tests.training.conftest import NewConfig
from tests.training.curves import curve

SECONDS_AT_MOST = 240
CONFIG = TrainingConfig(corpus="bach", out="my run")


def test_the_command_of_a_run_started_in_python_starts_the_same_run(
    new_config: NewConfig,
) -> None:
    config = new_config(steps=5, evaluate_every=5)
    run = start_training(config)
    run.wait(SECONDS_AT_MOST)
    before, told = curve(run.directory), run.directory.config()
    shutil.rmtree(run.path)
    program, *arguments = shlex.split(told["command"])
    assert program == "python"
    subprocess.run([sys.executable, *arguments], check=True, timeout=SECONDS_AT_MOST)
    again = attach(run.path)
    again.wait(SECONDS_AT_MOST)
    assert curve(again.directory) == before
    assert again.directory.config()["config"] == told["config"]
    assert again.directory.config()["command"] == told["command"]
    assert told["sessions"][0]["command"] == told["command"]


def test_the_command_of_a_later_session_resumes(new_config: NewConfig) -> None:
    config = new_config(steps=5, evaluate_every=5, save_every=2)
    run = start_training(config)
    run.wait(SECONDS_AT_MOST)
    before = curve(run.directory)
    for path in (run.path / "checkpoints").glob("step-000005*"):
        path.unlink()
    run.directory.write_status("stopped", step=5, steps=5)
    program, *arguments = shlex.split(command_of(config, 1, resumes=True))
    assert program == "python"
    subprocess.run([sys.executable, *arguments], check=True, timeout=SECONDS_AT_MOST)
    again = attach(run.path)
    again.wait(SECONDS_AT_MOST)
    assert curve(again.directory) == before
    sessions = again.directory.config()["sessions"]
    assert [session["from_step"] for session in sessions] == [0, 4]
    assert sessions[1]["command"] == shlex.join(["python", *arguments])


@pytest.mark.parametrize("program", ["/usr/bin/rwkv-music", "Scripts/rwkv-music.exe"])
def test_a_command_line_is_recorded_as_typed(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "train", "--out", "my run"])
    assert command_of(CONFIG, 1) == "rwkv-music train --out 'my run'"
    assert command_of(CONFIG, 1, resumes=True) == "rwkv-music train --out 'my run'"


def test_a_command_line_of_several_processes_contains_torchrun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["lib/rwkv_music/__main__.py", "train", "--out", "run"])
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    rest = "-m rwkv_music train --out run"
    assert command_of(CONFIG, 1) == "rwkv-music train --out run"
    assert command_of(CONFIG, 8) == f"torchrun --nproc-per-node 8 {rest}"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert command_of(CONFIG, 8) == f"torchrun --nnodes 2 --nproc-per-node 4 {rest}"
