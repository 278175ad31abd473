"""Whole runs on a folder of tunes made here: they learn, repeat, can be watched and stopped."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rwkv_music.errors import InputError, TrainingFailedError
from rwkv_music.model import load_model
from rwkv_music.score import bar_starts, load_score, save_score
from rwkv_music.training import (
    Callbacks,
    StepMetrics,
    TrainingConfig,
    TrainingRun,
    attach,
    start_training,
    train,
)
from rwkv_music.training.run.directory import RunDirectory
from tests.music import tune

SECONDS_AT_MOST = 120


def config(tunes: Path, out: Path, **settings: Any) -> TrainingConfig:
    given = {
        "steps": 12, "evaluate_every": 6, "seed": 1, "device": "cpu", "sample_prompts": 0,
        **settings,
    }  # fmt: skip
    return TrainingConfig.preset("tiny", corpus=str(tunes), out=str(out), **given)


def test_a_run_learns_and_writes_everything_into_its_directory(tunes: Path, tmp_path: Path) -> None:
    run = train(config(tunes, tmp_path / "run", sample_prompts=2))
    lines = run.metrics()
    steps = [line for line in lines if "loss_train" in line]
    evaluations = [line for line in lines if "loss_valid" in line]
    assert [line["step"] for line in steps] == list(range(1, 13))
    assert [line["step"] for line in evaluations] == [6, 12]
    assert evaluations[-1]["loss_valid"] < evaluations[0]["loss_valid"] < 7.6
    assert evaluations[-1]["nats_per_note_valid"] > evaluations[-1]["loss_valid"]
    assert run.status()["state"] == "finished"

    told = run.config()
    assert told["corpus"]["pieces_train"] + told["corpus"]["pieces_valid"] == 12
    assert list(told["baselines"]) == ["uniform", "unigram", "5-gram"]
    losses = [baseline["nats_per_token"] for baseline in told["baselines"].values()]
    assert losses == sorted(losses, reverse=True)
    assert evaluations[-1]["loss_valid"] < losses[0]
    assert len(told["samples"]) == 2
    for index, path in enumerate(run.sample_paths(12, 2), start=1):
        prompt = load_score(run.path / "samples" / f"prompt-{index}.mid")
        assert told["samples"][index - 1]["continuation_start"] == int(bar_starts(prompt)[-1])
        assert len(bar_starts(load_score(path))) >= len(bar_starts(prompt))
        assert path.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    assert told["sessions"][0]["from_step"] == 0
    assert "finished after step 12" in run.log_path.read_text(encoding="utf-8")

    model = load_model(run.path)
    assert model.tokenizer_settings == told["tokenizer"]


def test_the_same_seed_gives_the_same_losses_and_another_one_does_not(
    tunes: Path, tmp_path: Path
) -> None:
    losses = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run = train(config(tunes, tmp_path / name, steps=5, evaluate_every=5, seed=seed))
        losses.append([line["loss_train"] for line in run.metrics() if "loss_train" in line])
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_a_background_run_is_watched_paused_stopped_and_resumed(
    tunes: Path, tmp_path: Path
) -> None:
    for_long = {"steps": 100_000, "evaluate_every": 50_000, "save_every": 3}
    run = start_training(config(tunes, tmp_path / "run", sample_prompts=1, **for_long))

    def has_step(number: int) -> bool:
        return any(line["step"] >= number for line in run.metrics() if "loss_train" in line)

    until(lambda: has_step(1), run)
    # Another handle, as after a restart of the kernel.
    other = attach(run.path)
    other.pause()
    until(lambda: run.status()["state"] == "paused", run)
    paused_at = run.status()["step"]
    other.sample_now()
    other.save()
    until(lambda: any("samples" in line for line in run.metrics()), run)
    until(lambda: run.directory.checkpoints().steps()[-1:] == [paused_at], run)
    assert run.metrics()[-1]["step"] == paused_at
    assert not has_step(paused_at + 1)
    other.resume()
    until(lambda: has_step(paused_at + 1), run)
    other.stop()
    status = run.wait(timeout_seconds=SECONDS_AT_MOST)
    assert status["state"] == "stopped"
    # Stopped before the first look, the run still holds what it has learnt.
    assert load_model(run.path).metadata["step"] == status["step"]
    assert run.metrics()[-1]["step"] == status["step"]
    other.resume()
    until(lambda: has_step(status["step"] + 1), other)
    with pytest.raises(InputError, match="is being trained by process"):
        train(config(tunes, tmp_path / "run", sample_prompts=1, **for_long), resume=True)
    other.stop()
    assert other.wait(timeout_seconds=SECONDS_AT_MOST)["step"] > status["step"]


def until(done: Callable[[], bool], run: TrainingRun) -> None:
    """Wait for something that a run in another process does."""
    deadline = time.monotonic() + SECONDS_AT_MOST
    while not done():
        told = run.directory.log_path.read_text(encoding="utf-8")
        assert run.status()["state"] != "failed", told
        assert time.monotonic() < deadline, told
        time.sleep(0.05)


def test_a_stop_request_acts_within_one_step(tunes: Path, tmp_path: Path) -> None:
    settings = config(tunes, tmp_path / "run")
    control = RunDirectory(settings.out_path).control

    def on_step(report: StepMetrics) -> None:
        if report.step == 3:
            control.ask("stop")

    run = train(settings, callbacks=Callbacks(on_step=on_step))
    assert run.status()["step"] == 3
    assert run.metrics()[-1]["step"] == 3


@pytest.mark.skipif(os.name == "nt", reason="a process cannot interrupt itself so on Windows")
def test_ctrl_c_finishes_the_step_and_saves(tunes: Path, tmp_path: Path) -> None:
    def on_step(report: StepMetrics) -> None:
        if report.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    notes: list[str] = []
    run = train(
        config(tunes, tmp_path / "run"),
        callbacks=Callbacks(on_step=on_step, on_note=notes.append),
    )
    assert (run.status()["state"], run.status()["step"]) == ("stopped", 3)
    assert run.checkpoints().steps() == [3]
    assert notes == ["finishing this step and saving; Ctrl-C again ends at once"]

    def twice(report: StepMetrics) -> None:
        if report.step == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(config(tunes, tmp_path / "run"), resume=True, callbacks=Callbacks(on_step=twice))
    assert run.status()["state"] == "stopped"
    assert "interrupted; the last checkpoint" in run.status()["message"]


def test_a_run_ends_early_when_the_held_out_loss_no_longer_falls(
    tunes: Path, tmp_path: Path
) -> None:
    # So high a learning rate for so few tunes that validation soon rises.
    settings = config(
        tunes, tmp_path / "run", steps=60, evaluate_every=2, early_stopping_patience=3,
        learning_rate=0.05, warmup_steps=0,
    )  # fmt: skip
    notes: list[str] = []
    run = train(settings, callbacks=Callbacks(on_note=notes.append))
    looks = [line for line in run.metrics() if "loss_valid" in line]
    losses = [line["loss_valid"] for line in looks]
    assert run.status()["step"] == looks[-1]["step"] < 60
    assert len(losses) - 1 - losses.index(min(losses)) == 3
    assert f"best {min(losses):.4f} at step" in run.status()["message"]
    assert load_model(run.path).metadata["step"] == looks[losses.index(min(losses))]["step"]


def test_a_run_that_cannot_start_writes_the_reason_into_its_status(tmp_path: Path) -> None:
    run = start_training(config(tmp_path / "nowhere", tmp_path / "run"))
    with pytest.raises(TrainingFailedError, match="is not a folder"):
        run.wait(timeout_seconds=SECONDS_AT_MOST)
    assert run.status()["state"] == "failed"
    assert "is not a folder" in run.directory.log_path.read_text(encoding="utf-8")


def test_a_refused_run_in_this_process_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        train(config(tmp_path / "nowhere", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_refused_run_removes_nothing_from_an_existing_folder(tmp_path: Path) -> None:
    (tmp_path / "songs").mkdir()
    written = save_score(tune(bars=2), tmp_path / "songs" / "mine.mid").read_bytes()
    with pytest.raises(InputError, match="is not a folder"):
        train(config(tmp_path / "nowhere", tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["songs"]
    assert (tmp_path / "songs" / "mine.mid").read_bytes() == written


def test_a_loss_that_is_not_finite_ends_the_run_and_the_last_checkpoint_is_named(
    tunes: Path, tmp_path: Path
) -> None:
    broken = config(tunes, tmp_path / "run", learning_rate=1e30, warmup_steps=0, save_every=1)
    with pytest.raises(
        TrainingFailedError,
        match=r"is (nan|inf) at step \d+: lower `learning_rate` \(now 1e\+30\); the last "
        r"checkpoint, .*step-0000\d\d\.safetensors, is kept",
    ) as failure:
        train(broken)
    run = attach(tmp_path / "run")
    assert run.status()["state"] == "failed"
    assert run.status()["message"] == str(failure.value)
    assert "\n" not in str(failure.value)
    assert "FloatingPointError" in run.directory.log_path.read_text(encoding="utf-8")
    with pytest.raises(TrainingFailedError, match="is kept: resume from it"):
        run.wait()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            MemoryError(),
            "out of memory: .* with `batch_size=2, gradient_accumulation_steps=2` or",
        ),
        (RuntimeError("CUDA out of memory. Tried to"), "out of memory: end other programs"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), "out of memory: end"),
        (
            OSError(28, "No space left on device", "x.jsonl"),
            r"cannot read or write x\.jsonl .*: free some space",
        ),
    ],
)
def test_an_error_that_the_user_can_fix_is_one_line(
    error: Exception, message: str, tunes: Path, tmp_path: Path
) -> None:
    def on_step(report: StepMetrics) -> None:
        if report.step == 7:
            raise error

    with pytest.raises(TrainingFailedError, match=rf"{message}.*step-000006.*is kept"):
        train(config(tunes, tmp_path / "run"), callbacks=Callbacks(on_step=on_step))
    assert attach(tmp_path / "run").status()["message"].count("\n") == 0


def test_a_bug_keeps_its_traceback(tunes: Path, tmp_path: Path) -> None:
    def on_step(_report: StepMetrics) -> None:
        raise KeyError("oops")

    with pytest.raises(KeyError, match="oops"):
        train(config(tunes, tmp_path / "run"), callbacks=Callbacks(on_step=on_step))
    status = attach(tmp_path / "run").status()
    assert "a bug ended the run (KeyError('oops')); no checkpoint had been" in status["message"]
    assert "Traceback" in (tmp_path / "run" / "train.log").read_text(encoding="utf-8")


def test_too_little_music_is_refused(tmp_path: Path) -> None:
    save_score(tune(bars=4), tmp_path / "one" / "tune.mid")
    with pytest.raises(InputError, match="training needs at least 2, one of them held out"):
        train(config(tmp_path / "one", tmp_path / "run"))


def test_training_changes_every_parameter(tunes: Path, tmp_path: Path) -> None:
    first = train(config(tunes, tmp_path / "a", steps=5, evaluate_every=1))
    early = load_model(first.checkpoint_path("last"))
    from rwkv_music.model import RWKV7, initialize

    start = RWKV7(early.config)
    initialize(start, seed=1)
    after = dict(early.network.named_parameters())
    unmoved = [name for name, value in start.named_parameters() if torch.equal(value, after[name])]
    assert unmoved == []
