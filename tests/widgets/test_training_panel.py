"""The training panel without a browser: what it shows of a run, and what its buttons ask for."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rwkv_music_widgets import TrainingPanel
from rwkv_music_widgets.training.loss_chart import packed_points
from rwkv_music_widgets.training.run_html import figures_html
from rwkv_music_widgets.training.run_log import RunLog, seconds_left

from rwkv_music.errors import InputError
from rwkv_music.score import load_score, save_score
from rwkv_music.training.run.directory import RunDirectory
from tests.music import BAR, tune


def some_run(path: Path, *, steps: int) -> RunDirectory:
    run = RunDirectory(path).create()
    run.write_config(
        {
            "baselines": {
                "uniform": {"nats_per_token": 7.6, "nats_per_note": 30.0},
                "5-gram": {"nats_per_token": 0.9, "nats_per_note": 4.0, "by_type": {"BAR": 0.25}},
            },
            "samples": [{"continuation_start": 2 * BAR}, {"continuation_start": BAR}],
            "sessions": [{}],
        }
    )
    for step in range(1, steps + 1):
        run.append_metrics(
            {
                "step": step,
                "loss_train": 5.0 / step,
                "tokens_per_second": 1000.0,
                "device_busy_percent": None,
                "memory_gib": 0.5,
                "elapsed_seconds": float(step),
            }
        )
    return run


def evaluate(run: RunDirectory, step: int, **more: Any) -> None:
    """Append the metrics of an evaluation, with two samples."""
    names = []
    for index, path in enumerate(run.sample_paths(step, 2)):
        save_score(tune(bars=4 + index), path)
        names.append(path.relative_to(run.path).as_posix())
    run.append_metrics(
        {
            "step": step,
            "loss_valid": 1.5,
            "nats_per_note_valid": 6.0,
            "bits_per_second_valid": 12.34,
            "loss_by_type_valid": {"BAR": 0.5, "PITCH": 2.25},
            "samples": names,
            **more,
        }
    )


def finish(run: RunDirectory) -> None:
    evaluate(run, 5)
    run.write_status("finished", step=5, steps=5, device="cpu")


def test_the_log_reads_the_keys_of_earlier_versions(tmp_path: Path) -> None:
    run = some_run(tmp_path / "run", steps=1)
    run.append_metrics({"step": 1, "loss_valid": 1.5, "loss_by_kind_valid": {"BAR": 0.5}})
    log = RunLog(run.path)
    log.refresh()
    assert log.latest_evaluation["loss_by_type_valid"] == {"BAR": 0.5}


def test_the_log_continues_where_it_stopped_reading(tmp_path: Path) -> None:
    run = some_run(tmp_path / "run", steps=2)
    log = RunLog(run.path)
    assert log.refresh()
    assert not log.refresh()
    with run.metrics_path.open("a", encoding="utf-8") as lines:
        lines.write('{"step": 3, "loss_tr')
    assert not log.refresh()
    with run.metrics_path.open("a", encoding="utf-8") as lines:
        lines.write('ain": 1.0}\n')
    assert log.refresh()
    assert [step for step, _ in log.train] == [1, 2, 3]


def test_many_points_are_thinned_and_the_last_one_is_kept() -> None:
    points = [(float(step), 1.0) for step in range(10_000)]
    thinned = np.frombuffer(packed_points(points, max_points=100), dtype="<f4").reshape(-1, 2)
    assert len(thinned) == 100
    assert thinned[-1, 0] == 9999


def test_the_panel_shows_a_run_from_nothing_to_its_end(tmp_path: Path) -> None:
    panel = TrainingPanel(tmp_path / "run", refresh_seconds=60)
    assert "waiting for a run" in panel.header.value
    run = some_run(tmp_path / "run", steps=5)
    panel.refresh()
    assert panel.state == "preparing"
    assert len(np.frombuffer(panel.chart.train, dtype="<f4")) == 2 * 5
    assert panel.chart.baselines == [["uniform", 7.6], ["5-gram", 0.9]]
    assert "unknown" in panel.figures.value
    finish(run)
    panel.refresh()
    assert panel.state == "finished"
    assert panel.stop_button.disabled
    assert panel.sample_choice.options == (("step 5", 5),)
    assert panel.roll.continuation_start == 2 * BAR
    assert panel.roll.score.note_num() == load_score(run.sample_paths(5, 2)[0]).note_num()
    assert "1.500, 6.000 nats per note (5-gram: 0.900, 4.000)" in panel.figures.value
    assert "12.3 bits/s of music" in panel.figures.value
    assert panel.kinds.value.index("pitch") < panel.kinds.value.index(">bar<")
    assert "0.250" in panel.kinds.value
    panel.prompt_choice.value = 1
    assert panel.roll.continuation_start == BAR
    assert panel.roll.score.note_num() == load_score(run.sample_paths(5, 2)[1]).note_num()
    panel.close()


def test_the_panel_asks_the_trainer_to_stop(tmp_path: Path) -> None:
    run = some_run(tmp_path / "run", steps=1)
    run.write_status("running", step=1, steps=9, device="cpu")
    panel = TrainingPanel(run.path, refresh_seconds=60)
    assert "step 1 of 9" in panel.header.value
    panel.stop_button.click()
    assert run.control.holds("stop")
    assert panel.stop_button.description == "stopping …"
    panel.close()


def test_each_button_sends_its_command(tmp_path: Path) -> None:
    run = some_run(tmp_path / "run", steps=1)
    run.write_status("running", step=1, steps=9, device="cpu")
    panel = TrainingPanel(run.path, refresh_seconds=60)
    panel.save_button.click()
    panel.sample_button.click()
    panel.pause_button.click()
    assert list(run.control.take()) == ["save", "sample", "pause"]
    assert (panel.pause_button.description, panel.pause_button.disabled) == ("pausing …", True)
    panel.refresh()
    assert panel.pause_button.disabled
    run.write_status("paused", step=1, steps=9, device="cpu")
    panel.refresh()
    assert (panel.pause_button.description, panel.pause_button.disabled) == ("Resume", False)
    panel.pause_button.click()
    assert list(run.control.take()) == ["resume"]
    run.write_status("running", step=2, steps=9, device="cpu")
    panel.refresh()
    assert (panel.pause_button.description, panel.pause_button.disabled) == ("Pause", False)
    run.write_status("finished", step=9, steps=9, device="cpu")
    panel.refresh()
    assert all(button.disabled for button in panel.buttons.children)
    panel.close()


def test_a_resumed_run_is_read_again(tmp_path: Path) -> None:
    run = some_run(tmp_path / "run", steps=5)
    evaluate(run, 5)
    log = RunLog(run.path)
    log.refresh()
    assert list(log.samples) == [5]
    assert run.truncate_metrics(after=3) == 3
    run.append_metrics({"step": 4, "loss_train": 9.0, "elapsed_seconds": 4.0})
    run.write_config({**run.config(), "sessions": [{}, {}]})
    assert log.refresh()
    assert log.train == [(1, 5.0), (2, 2.5), (3, 5.0 / 3), (4, 9.0)]
    assert (log.valid, log.samples) == ([], {})
    assert not log.refresh()


def test_a_warning_is_shown_until_the_next_evaluation(tmp_path: Path) -> None:
    run = some_run(tmp_path / "run", steps=5)
    evaluate(run, 3, warnings=["the held-out loss rises: <1.6>"])
    panel = TrainingPanel(run.path, refresh_seconds=60)
    assert "the held-out loss rises: &lt;1.6&gt;" in panel.warnings.value
    evaluate(run, 5, warnings=[])
    panel.refresh()
    assert panel.warnings.value == ""
    panel.close()


def test_a_run_of_the_first_version_is_shown(tmp_path: Path) -> None:
    run = some_run(tmp_path / "run", steps=2)
    baseline = {"order": 5, "nats_per_token": 0.9, "nats_per_note": 4.0}
    old = {"schema": 1, "floor": baseline, "sample": {"seam_tick": BAR}}
    run.config_path.write_text(json.dumps(old), encoding="utf-8")
    save_score(tune(bars=4), run.path / "samples" / "step-000002.mid")
    line = {"step": 2, "loss_valid": 1.5, "nats_per_note_valid": 6.0}
    run.append_metrics({**line, "sample": "samples/step-000002.mid"})
    panel = TrainingPanel(run.path, refresh_seconds=60)
    assert panel.chart.baselines == [["5-gram", 0.9]]
    assert panel.roll.continuation_start == BAR
    assert "(5-gram: 0.900, 4.000)" in panel.figures.value
    panel.close()


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    run = some_run(tmp_path / "run", steps=1)
    run.write_status("failed", step=1, steps=9, message="the loss is <nan>")
    panel = TrainingPanel(run.path, refresh_seconds=60)
    assert panel.state == "failed"
    assert "the loss is &lt;nan&gt;" in panel.header.value
    panel.close()


def test_a_refresh_interval_that_is_too_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"refresh_seconds must be at least 0\.25, got 0\.1"):
        TrainingPanel(tmp_path, refresh_seconds=0.1)


def test_power_and_temperature_are_shown_if_the_device_reports_them() -> None:
    line = {"loss_train": 1.0, "tokens_per_second": 5.0, "device_busy_percent": 97.0}
    line |= {"memory_gib": 2.0, "device_power_watts": 412.5, "device_temperature_celsius": None}
    shown = figures_html(SimpleNamespace(latest=line, latest_evaluation={}), "cuda:0")
    assert "<b>GPU busy</b> 97 %" in shown
    assert "<b>power</b> 412 W" in shown
    assert "temperature" not in shown


def test_the_remaining_time_is_estimated_from_the_last_fifty_steps() -> None:
    log = RunLog("nowhere")
    log._add({"step": 1, "loss_train": 1.0, "elapsed_seconds": 8.0})
    assert seconds_left(log, 1, 3, str) == "16.0"  # the only step took 8 s, and 2 are to come
    for step in range(2, 101):
        # 10 s a step while something else was running, 2 s a step since step 50
        elapsed = 10.0 * step if step <= 50 else 500.0 + 2.0 * (step - 50)
        log._add({"step": step, "loss_train": 1.0, "elapsed_seconds": elapsed})
    assert seconds_left(log, 100, 130, str) == "60.0"
    assert seconds_left(RunLog("nowhere"), 0, 130, str) == ""


def test_an_apple_gpu_is_not_called_a_cpu() -> None:
    line = {"loss_train": 1.0, "tokens_per_second": 5.0, "device_busy_percent": None}
    log = SimpleNamespace(latest=line | {"memory_gib": 2.0}, latest_evaluation={})
    assert "<b>GPU busy</b>" in figures_html(log, "mps")
    assert "<b>CPU share</b>" in figures_html(log, "cpu")


SCRIPT = "<img src=x onerror=alert(1)>"
ESCAPED = "&lt;img src=x onerror=alert(1)&gt;"


def test_nothing_of_a_hostile_run_reaches_the_page_unescaped(tmp_path: Path) -> None:
    run = some_run(tmp_path / "run", steps=2)
    evaluate(run, 2, warnings=[SCRIPT], loss_by_type_valid={SCRIPT: 1.0, "PITCH": SCRIPT})
    config = run.config()
    config["baselines"][SCRIPT] = {"nats_per_token": 0.01, "nats_per_note": SCRIPT}
    run.write_config({**config, "kernel": SCRIPT})
    run.append_metrics({"step": 3, "loss_train": 1.0, "tokens_per_second": SCRIPT})
    run.write_status("running", step=1, steps=9, message=SCRIPT, device=SCRIPT)
    status = json.loads(run.status_path.read_text())
    panel = TrainingPanel(run.path, refresh_seconds=60)
    shown = [panel.header, panel.figures, panel.warnings, panel.kinds]
    assert all(ESCAPED in html.value for html in shown)
    run.status_path.write_text(json.dumps({**status, "state": SCRIPT}))
    panel.refresh()
    assert ESCAPED in panel.header.value
    for key in ("step", "steps"):
        run.status_path.write_text(json.dumps({**status, key: SCRIPT}))
        panel.refresh()
        assert "status.json is damaged" in panel.header.value
    assert not any("<img" in html.value for html in shown)
    panel.close()


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"\xff\xfe", b'{"step": "2"}', b'{"loss_train": 1.0}', b"NaN"]
)
def test_a_damaged_line_of_metrics_costs_that_line_only(tmp_path: Path, line: bytes) -> None:
    run = some_run(tmp_path / "run", steps=2)
    with run.metrics_path.open("ab") as file:
        file.write(line + b"\n")
    run.append_metrics({"step": 3, "loss_train": 1.0})
    log = RunLog(run.path)
    log.refresh()
    assert [step for step, _ in log.train] == [1, 2, 3]
    assert log.num_damaged_lines == 1


@pytest.mark.parametrize(
    "name", ["../secret.mid", "samples/../../secret.mid", "/secret.mid", "samples/..", 7, None]
)
def test_a_sample_outside_the_samples_folder_is_not_read(tmp_path: Path, name: object) -> None:
    run = some_run(tmp_path / "run", steps=2)
    run.append_metrics({"step": 2, "loss_valid": 1.0, "samples": [name]})
    log = RunLog(run.path)
    log.refresh()
    assert log.samples == {}
