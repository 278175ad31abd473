"""The run directory: what is written is what is read, and nothing is ever half there."""

import json
import os
from pathlib import Path

import pytest

from rwkv_music.errors import InputError
from rwkv_music.training import TrainingConfig, train
from rwkv_music.training.run.background import TrainingRun, attach
from rwkv_music.training.run.directory import RunDirectory
from rwkv_music.training.run.process_identity import is_alive


def test_metrics_come_back_in_order_without_the_line_being_written(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run").create()
    assert run.metrics() == []
    run.append_metrics({"step": 1, "loss_train": 2.5})
    run.append_metrics({"step": 2, "loss_train": 2.25})
    with run.metrics_path.open("a", encoding="utf-8") as lines:
        lines.write('{"step": 3, "loss_tr')
    assert run.metrics() == [{"step": 1, "loss_train": 2.5}, {"step": 2, "loss_train": 2.25}]


def test_status_and_config_are_replaced_as_a_whole(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run").create()
    run.write_status("running", step=3, steps=9, device="cpu")
    run.write_config({"command": "train"})
    assert run.status()["state"] == "running"
    assert run.config() == {"schema": 2, "command": "train"}
    assert not list(run.path.glob("*.partial"))


def test_every_command_is_handled_once_and_in_order(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run").create()
    assert list(run.control.take()) == []
    handle = attach(run.path)
    for ask in (handle.pause, handle.sample_now, handle.save):
        ask()
    assert run.control.path.read_text(encoding="utf-8") == "pause\nsample\nsave\n"
    assert list(run.control.take()) == ["pause", "sample", "save"]
    handle.stop()
    assert list(run.control.take()) == ["stop"]
    assert list(run.control.take()) == []
    # Written anew by hand, without a line's end.
    run.control.path.write_text("stop", encoding="utf-8")
    assert list(run.control.take()) == ["stop"]
    run.control.clear()
    assert not run.control.holds("stop")


def test_a_directory_with_a_run_is_refused_and_unchanged(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path).create()
    run.append_metrics({"step": 1})
    with pytest.raises(
        InputError, match=r"holds a run already: resume it \(`resume`\), choose another `out`"
    ):
        RunDirectory(tmp_path).create()
    assert run.metrics() == [{"step": 1}]


@pytest.mark.parametrize("name", ["config.json", "samples/mine.mid"])
def test_files_that_a_run_would_overwrite_are_refused_and_unchanged(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    top = name.partition("/")[0]
    with pytest.raises(InputError, match=f"holds {top}, which belongs to no run"):
        RunDirectory(tmp_path).create()
    assert (tmp_path / name).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write the run to .*choose another `out`"):
        RunDirectory(tmp_path / "file" / "run").create()


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no run \(no status.json\)"):
        attach(tmp_path)
    with pytest.raises(InputError, match=r"holds no run \(no config.json\)"):
        RunDirectory(tmp_path).config()


def test_lines_after_a_step_are_removed_with_their_samples_and_a_partial_line(
    tmp_path: Path,
) -> None:
    run = RunDirectory(tmp_path / "run").create()
    kept, dropped = run.sample_paths(1, 1)[0], run.sample_paths(3, 1)[0]
    for path in (kept, dropped, dropped.with_suffix(".png")):
        path.write_bytes(b"music")
    run.append_metrics({"step": 1})
    run.append_metrics({"step": 1, "samples": ["samples/step-000001-1.mid"]})
    run.append_metrics({"step": 2})
    run.append_metrics({"step": 3, "samples": ["samples/step-000003-1.mid"]})
    with run.metrics_path.open("a", encoding="utf-8") as lines:
        lines.write('{"step": 4, "lo')
    assert run.truncate_metrics(after=1) == 2
    assert run.metrics_path.read_text(encoding="utf-8").count("\n") == 2
    assert run.metrics()[-1]["samples"] == ["samples/step-000001-1.mid"]
    assert [path.name for path in (run.path / "samples").iterdir()] == ["step-000001-1.mid"]
    assert run.truncate_metrics(after=9) == 0


def test_an_ended_process_and_a_new_one_with_its_number_are_distinguished(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run").create()
    me = run.status()
    assert is_alive(me)
    of_before = {**me, "process_start_id": "", "process_started": me["process_started"] - 1000}
    assert not is_alive(of_before)  # a status without ticks, as on other systems
    assert not is_alive({**me, "pid": 2**22 + 1})
    elsewhere = {**me, "host": "another machine", "pid": 2**22 + 1}
    assert is_alive(elsewhere)
    assert not is_alive({**elsewhere, "updated": me["updated"] - 3600})
    assert not is_alive({**elsewhere, "updated": me["updated"] + 3600})
    assert not is_alive({**elsewhere, "updated": "yesterday"})


def test_a_run_that_another_process_trains_is_refused(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run").create()
    run.require_idle()
    parent = os.getppid()
    run.write_status("running", process_id=parent)
    with pytest.raises(InputError, match=f"is being trained by process {parent}: stop that one"):
        run.require_idle()
    run.write_status("stopped", process_id=parent)
    run.require_idle()


def test_a_process_of_another_machine_with_the_same_number_is_another_process(
    tmp_path: Path,
) -> None:
    run = RunDirectory(tmp_path / "run").create()
    elsewhere = {**run.status(), "state": "running", "host": "another container"}
    run.status_path.write_text(json.dumps(elsewhere), encoding="utf-8")
    with pytest.raises(InputError, match=f"is being trained by process {os.getpid()}"):
        run.require_idle()


def test_a_run_of_the_first_version_can_be_read_but_not_resumed(tmp_path: Path) -> None:
    config = TrainingConfig.preset("tiny", corpus="bach", out=str(tmp_path))
    run = RunDirectory(tmp_path).create()
    baseline = {"order": 5, "nats_per_token": 0.9, "nats_per_note": 4.0}
    old = {"schema": 1, "config": config.to_dict(), "floor": baseline, "sample": {"seam_tick": 7}}
    run.config_path.write_text(json.dumps(old), encoding="utf-8")
    read = run.config()
    assert read["baselines"] == {"5-gram": {"nats_per_token": 0.9, "nats_per_note": 4.0}}
    assert read["samples"] == [{"continuation_start": 7}]
    with pytest.raises(InputError, match="made by an older version, which kept no optimizer"):
        train(config, resume=True)


def test_keys_of_earlier_versions_are_read_under_their_names_of_today(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run").create()
    old = {
        "schema": 2,
        "corpus": {"name": "bach", "set_aside": {"a.mid": "is empty"}},
        "baselines": {"5-gram": {"nats_per_token": 0.9, "by_kind": {"BAR": 1.0}}},
        "samples": [{"seam_tick": 7, "bars": 4}],
    }
    run.config_path.write_text(json.dumps(old), encoding="utf-8")
    assert run.config() == {
        "schema": 2,
        "corpus": {"name": "bach", "skipped": {"a.mid": "is empty"}},
        "baselines": {"5-gram": {"nats_per_token": 0.9, "by_type": {"BAR": 1.0}}},
        "samples": [{"continuation_start": 7, "bars": 4}],
    }
    run.append_metrics({"step": 1, "loss_by_kind": {"BAR": 0.5}, "scored_share": 0.5})
    assert run.metrics() == [{"step": 1, "loss_by_type": {"BAR": 0.5}, "scored_fraction": 0.5}]


def test_a_run_of_another_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"schema": 99}')
    with pytest.raises(InputError, match="written in schema 99, this version reads up to 2"):
        RunDirectory(tmp_path).config()


def test_a_run_whose_process_has_ended_is_reported_as_failed(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run").create()
    nobody = 2**22 + 1  # above the largest process number Linux gives out
    text = run.status_path.read_text(encoding="utf-8")
    own = str(run.status()["pid"])
    run.status_path.write_text(text.replace(own, str(nobody)), encoding="utf-8")
    status = TrainingRun(run.path).status()
    assert status["state"] == "failed"
    assert "ended unexpectedly" in status["message"]
    assert not TrainingRun(run.path).is_running


def test_waiting_for_a_run_times_out(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run").create()
    with pytest.raises(TimeoutError, match="has not ended after 0"):
        TrainingRun(run.path).wait(timeout_seconds=0)
