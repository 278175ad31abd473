"""A run deletes and writes its own files only, whatever a file of the run says."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rwkv_music.errors import InputError
from rwkv_music.training import train
from rwkv_music.training.callbacks import Callbacks
from rwkv_music.training.run.control import STOP
from rwkv_music.training.run.directory import RunDirectory
from rwkv_music.training.trainer import StepMetrics
from tests.training.conftest import NewConfig

SECONDS_AT_MOST = 120


def test_discarding_a_run_leaves_what_others_put_into_its_folder(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run").create()
    own = [
        run.config_path, run.metrics_path, run.log_path, run.control.path,
        run.path / "status.json.12-34.partial",
        run.path / "samples" / "prompt-1.mid", run.path / "samples" / "step-000003-1.png",
        run.path / "checkpoints" / "step-000003.training.safetensors",
        run.path / "checkpoints" / "best.safetensors",
        run.path / "tensorboard" / "run" / "events.out.tfevents.1.host",
    ]  # fmt: skip
    others = [
        run.path / "thesis.txt",
        run.path / "samples" / "mine.mid",
        run.path / "checkpoints" / "step-000003-of-monday.safetensors",
        run.path / "tensorboard" / "notes.txt",
        run.path / "wandb" / "status.json",
    ]
    for path in (*own, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("written later")
    run.discard()
    left = sorted(path for path in run.path.rglob("*") if path.is_file())
    assert left == sorted(others)


def test_discarding_a_run_removes_its_empty_folder_but_not_a_folder_of_before(
    tmp_path: Path,
) -> None:
    RunDirectory(tmp_path / "new").create().discard()
    assert not (tmp_path / "new").exists()
    (tmp_path / "old" / "samples").mkdir(parents=True)
    RunDirectory(tmp_path / "old").create().discard()
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["samples"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_corpus_is_read_takes_nothing_of_others(
    number: signal.Signals, tunes: Path, tmp_path: Path
) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from rwkv_music.training import Callbacks, TrainingConfig, train\n"
        "def on_piece(*_):\n    Path('reading').touch(); time.sleep(60)\n"
        f"config = TrainingConfig.preset('tiny', corpus={str(tunes)!r}, out='.', device='cpu')\n"
        "train(config, callbacks=Callbacks(on_piece=on_piece))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    deadline = time.monotonic() + SECONDS_AT_MOST
    while not (tmp_path / "reading").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (tmp_path / "thesis.txt").write_text("mine")
    process.send_signal(number)
    assert process.wait(SECONDS_AT_MOST) != 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reading", "thesis.txt"]
    # The same command is accepted: the folder holds no run.
    RunDirectory(tmp_path).create()


def test_resuming_deletes_no_file_that_a_line_of_the_metrics_names(
    new_config: NewConfig, tmp_path: Path
) -> None:
    config = new_config(steps=6)
    control = RunDirectory(config.out_path).control

    def on_step(metrics: StepMetrics) -> None:
        if metrics.step == 3:
            control.ask(STOP)

    run = train(config, callbacks=Callbacks(on_step=on_step))
    outside = [tmp_path / "song.mid", tmp_path / "song.png"]
    inside = [run.path / "samples" / "mine.mid", run.path / "checkpoints" / "mine.mid"]
    for path in (*outside, *inside):
        path.write_text("precious")
    for name in (str(outside[0]), "../song.mid", "samples/mine.mid", "checkpoints/mine.mid"):
        run.append_metrics({"step": 99, "samples": [name]})
    train(config, resume=True)
    assert [path.read_text() for path in (*outside, *inside)] == ["precious"] * 4
    assert run.metrics()[-1]["step"] == 6


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege on Windows")
@pytest.mark.parametrize("name", ["control", "train.log", "metrics.jsonl", "run.lock"])
def test_a_run_with_a_link_in_place_of_a_file_is_not_resumed(
    name: str, new_config: NewConfig, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "run").create()
    run.write_config({})
    (tmp_path / "diary.txt").write_text("mine")
    (run.path / name).unlink(missing_ok=True)
    (run.path / name).symlink_to(tmp_path / "diary.txt")
    with pytest.raises(InputError, match=rf"{name} is a symbolic link"):
        train(new_config(), resume=True)
    if name == "control":
        with pytest.raises(InputError, match="is a symbolic link"):
            run.control.ask(STOP)
    assert (tmp_path / "diary.txt").read_text() == "mine"


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege on Windows")
@pytest.mark.parametrize("name", ["samples", "checkpoints", "tensorboard"])
def test_a_run_with_a_link_in_place_of_a_folder_is_not_resumed(
    name: str, new_config: NewConfig, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "run").create()
    run.write_config({})
    others = tmp_path / "others"
    others.mkdir()
    (others / "step-000099-1.mid").write_text("mine")
    if (run.path / name).exists():
        (run.path / name).rmdir()
    (run.path / name).symlink_to(others, target_is_directory=True)
    reason = rf"{name} is a symbolic link, which no run contains: replace it by the folder"
    with pytest.raises(InputError, match=reason):
        train(new_config(), resume=True)
    assert (others / "step-000099-1.mid").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
@pytest.mark.parametrize("name", ["control", "metrics.jsonl", "config.json"])
def test_a_run_with_a_pipe_in_place_of_a_file_is_not_resumed(
    name: str, new_config: NewConfig, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "run").create()
    run.write_config({})
    (run.path / name).unlink(missing_ok=True)
    os.mkfifo(run.path / name)
    assert run.metrics() == []
    with pytest.raises(InputError, match=rf"{name} is (a pipe or a device|damaged)"):
        train(new_config(), resume=True)


def test_a_directory_whose_trainer_was_killed_at_once_is_used_again(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path).create()
    nobody = {**run.status(), "pid": 2**22 + 1}
    run.status_path.write_text(json.dumps(nobody))
    (tmp_path / "mine.txt").write_text("mine")
    again = RunDirectory(tmp_path).create()
    assert again.status()["pid"] == os.getpid()
    again.append_metrics({"step": 1})
    again.status_path.write_text(json.dumps(nobody))
    with pytest.raises(InputError, match="holds a run already"):
        RunDirectory(tmp_path).create()
    assert (tmp_path / "mine.txt").read_text() == "mine"
