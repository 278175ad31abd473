"""The run directory: what is written is what is read, and nothing is ever half there."""

from pathlib import Path

import pytest

from rwkv_music.errors import InputError
from rwkv_music.training.background import TrainingRun, attach
from rwkv_music.training.run import RunDirectory


def test_metrics_come_back_in_order_without_the_line_being_written(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    assert run.metrics() == []
    run.append_metrics({"step": 1, "loss_train": 2.5})
    run.append_metrics({"step": 2, "loss_train": 2.25})
    with run.metrics_path.open("a", encoding="utf-8") as lines:
        lines.write('{"step": 3, "loss_tr')
    assert run.metrics() == [{"step": 1, "loss_train": 2.5}, {"step": 2, "loss_train": 2.25}]


def test_status_and_config_are_replaced_as_a_whole(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    run.write_status("running", step=3, steps=9, device="cpu")
    run.write_config({"command": "train"})
    assert run.status()["state"] == "running"
    assert run.config() == {"schema": 1, "command": "train"}
    assert not list(run.path.glob("*.partial"))


def test_stop_is_asked_for_in_one_word(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    assert not run.stop_was_asked()
    attach(run.path).stop()
    assert run.control_path.read_text(encoding="utf-8") == "stop\n"
    assert run.stop_was_asked()


def test_a_directory_with_a_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path)
    run.append_metrics({"step": 1})
    with pytest.raises(InputError, match="holds a run already: choose another --out"):
        RunDirectory.create(tmp_path)
    assert run.metrics() == [{"step": 1}]


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write the run to .*choose another --out"):
        RunDirectory.create(tmp_path / "file" / "run")


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no run \(no status.json\)"):
        attach(tmp_path)
    with pytest.raises(InputError, match=r"holds no run \(no config.json\)"):
        RunDirectory(tmp_path).config()


def test_a_run_of_another_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"schema": 99}')
    with pytest.raises(InputError, match="written in schema 99, this version reads 1"):
        RunDirectory(tmp_path).config()


def test_a_run_whose_process_is_gone_is_reported_as_failed(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    nobody = 2**22 + 1  # above the largest process number Linux gives out
    text = run.status_path.read_text(encoding="utf-8")
    own = str(run.status()["pid"])
    run.status_path.write_text(text.replace(own, str(nobody)), encoding="utf-8")
    status = TrainingRun(run.path).status()
    assert status["state"] == "failed"
    assert "ended without a word" in status["message"]
    assert not TrainingRun(run.path).is_running


def test_waiting_for_a_run_has_an_end(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    with pytest.raises(TimeoutError, match="is not over after 0"):
        TrainingRun(run.path).wait(timeout_seconds=0)
