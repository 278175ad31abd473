"""Whole runs on a folder of tunes made here: they learn, repeat, can be watched and stopped."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rwkv_music.errors import InputError
from rwkv_music.model import load_model
from rwkv_music.score import bar_starts, load_score, save_score
from rwkv_music.training import TrainingConfig, attach, start_training
from rwkv_music.training.pipeline import train
from tests.music import tune

SECONDS_AT_MOST = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tunes over one scale pattern, so that there is something to learn."""
    place = tmp_path_factory.mktemp("tunes")
    for seed in range(12):
        save_score(tune(bars=6, seed=seed), place / f"tune-{seed}.mid")
    return place


def config(folder: Path, out: Path, **settings: Any) -> TrainingConfig:
    given = {"steps": 12, "evaluate_every": 6, "seed": 1, "device": "cpu", **settings}
    return TrainingConfig.preset("tiny", corpus=str(folder), out=str(out), **given)


def test_a_run_learns_and_leaves_everything_in_its_directory(folder: Path, tmp_path: Path) -> None:
    run = train(config(folder, tmp_path / "run"))
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
    assert told["floor"]["nats_per_note"] > 0
    prompt = load_score(run.path / "samples" / "prompt.mid")
    seam = int(bar_starts(prompt)[-1])
    assert told["sample"]["seam_tick"] == seam
    sample = load_score(run.sample_path(12))
    assert len(bar_starts(sample)) >= len(bar_starts(prompt))

    model = load_model(run.path)
    assert model.tokenizer_settings == told["tokenizer"]


def test_the_same_seed_gives_the_same_losses_and_another_one_does_not(
    folder: Path, tmp_path: Path
) -> None:
    losses = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run = train(config(folder, tmp_path / name, steps=5, evaluate_every=5, seed=seed))
        losses.append([line["loss_train"] for line in run.metrics() if "loss_train" in line])
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_a_run_in_its_own_process_can_be_watched_and_stopped(folder: Path, tmp_path: Path) -> None:
    run = start_training(config(folder, tmp_path / "run", steps=100_000, evaluate_every=50_000))
    seen_running = False
    while run.is_running and not seen_running:
        seen_running = any("loss_train" in line for line in run.metrics())
    assert seen_running, run.directory.log_path.read_text()
    attach(run.path).stop()
    status = run.wait(timeout_seconds=SECONDS_AT_MOST)
    assert status["state"] == "stopped"
    # Stopped before the first evaluation, the run still holds what it has learnt.
    assert load_model(run.path).metadata["step"] == status["step"]
    assert run.metrics()[-1]["step"] == status["step"]


def test_a_run_that_cannot_start_says_why_in_its_status(tmp_path: Path) -> None:
    run = start_training(config(tmp_path / "nowhere", tmp_path / "run"))
    status = run.wait(timeout_seconds=SECONDS_AT_MOST)
    assert status["state"] == "failed"
    assert "is not a folder" in status["message"]


def test_a_refused_run_in_this_process_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        train(config(tmp_path / "nowhere", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_is_named(folder: Path, tmp_path: Path) -> None:
    broken = config(folder, tmp_path / "run", learning_rate=1e30, warmup_steps=0)
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) at step \d+; lower"):
        train(broken)
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["state"] == "failed"
    assert "lower --learning-rate" in status["message"]


def test_training_changes_every_parameter(folder: Path, tmp_path: Path) -> None:
    first = train(config(folder, tmp_path / "a", steps=5, evaluate_every=1))
    early = load_model(first.checkpoint_path("last"))
    from rwkv_music.model import RWKV7, initialize

    start = RWKV7(early.config)
    initialize(start, seed=1)
    after = dict(early.named_parameters())
    unmoved = [name for name, value in start.named_parameters() if torch.equal(value, after[name])]
    assert unmoved == []
