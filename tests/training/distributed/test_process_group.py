"""Processes that train together: the numbers of one, whole files, and no hang when one falls."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from rwkv_music.errors import InputError, MissingExtraError
from rwkv_music.model import load_model
from rwkv_music.training import TrainingConfig, train
from rwkv_music.training.distributed import init_process_group
from rwkv_music.training.distributed.process_group import ProcessGroup, single_process
from rwkv_music.training.monitoring.loggers import chosen_logger
from rwkv_music.training.run.directory import RunDirectory
from tests.training.curves import curve
from tests.training.distributed.group_worker import SCORED, batches_of, measured, run_config
from tests.training.distributed.launch import (
    REPOSITORY,
    SECONDS_AT_MOST,
    ends_of,
    run_together,
    start_together,
)

ROUNDING = 1e-12
FLOAT32 = 1e-5


class OfSeveral(ProcessGroup):
    """One of several processes, as far as settings are concerned."""

    def __init__(self, rank: int, number: int) -> None:
        self.rank, self.world_size = rank, number


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    return measured(single_process())


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Any]]]:
    """The same in two processes; what each of them found."""
    folder = tmp_path_factory.mktemp("together")
    run_together("steps", str(folder))
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tunes: Path) -> Path:
    """Runs of two processes."""
    folder = tmp_path_factory.mktemp("runs")
    run_together("runs", str(folder), str(tunes))
    return folder


def test_the_processes_have_very_unequal_numbers_of_scored_tokens() -> None:
    # Otherwise the mean of their means would be the joint mean, and the next test could not fail.
    scored = [
        sum(batch.num_scored for batch in batches_of(OfSeveral(rank, 2).shard)) for rank in range(2)
    ]
    assert sum(scored) == sum(sum(batch) for batch in SCORED)
    assert max(scored) > 2 * min(scored)
    assert batches_of(OfSeveral(1, 2).shard)[-1].num_scored == 0


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("whole", "whole"),
        ("spans", "spans"),
        ("sharded", "whole"),
        ("sharded, recomputed", "whole"),
    ],
)
def test_two_processes_take_the_steps_of_one(
    kind: str, expected: str, alone: dict[str, Any], together: list[dict[str, Any]]
) -> None:
    one, two = alone[expected], together[0][kind]
    for before, after in zip(one["reports"], two["reports"], strict=True):
        # A batch's nats of a kind are added in float32.
        assert after.pop("loss_by_type") == pytest.approx(before["loss_by_type"], rel=1e-6)
        same = {name: value for name, value in before.items() if name != "loss_by_type"}
        assert after == pytest.approx(same, rel=ROUNDING)
    # The model that a sharded run is measured with is made anew, in float32.
    limits = {"gradients": ROUNDING, "state": ROUNDING}
    limits["weights"] = FLOAT32 if kind.startswith("sharded") else ROUNDING
    for part, limit in limits.items():
        assert one[part].keys() == two[part].keys()
        for name, value in one[part].items():
            scale = float(value.abs().max())
            torch.testing.assert_close(
                two[part][name].to(value.dtype), value, rtol=0, atol=limit * scale, msg=name
            )
    other = together[1][kind]["gradients"]
    assert all(torch.equal(value, other[name]) for name, value in two["gradients"].items())


def steps_in(run: RunDirectory) -> list[dict[str, Any]]:
    return [line for line in run.metrics() if "loss_train" in line]


def test_a_stopped_run_of_two_processes_resumes_to_the_last_bit(runs: Path) -> None:
    whole, parted = RunDirectory(runs / "whole"), RunDirectory(runs / "parted")
    assert [start["from_step"] for start in parted.config()["sessions"]] == [0, 3]
    assert curve(parted) == curve(whole)
    assert parted.status()["state"] == whole.status()["state"] == "finished"
    assert {line["processes"] for line in steps_in(whole)} == {2}
    assert whole.config()["processes"] == 2
    assert load_model(whole.path).metadata["step"] == 8
    assert list((whole.path / "tensorboard").iterdir())


def comparable(run: RunDirectory) -> list[dict[str, Any]]:
    """Numbers that do not depend on how many processes found them."""
    names = ("step", "loss_train", "loss_valid", "grad_norm", "learning_rate")
    return [{name: line[name] for name in names if name in line} for line in run.metrics()]


def test_one_process_resumes_the_run_of_two(runs: Path, tunes: Path, tmp_path: Path) -> None:
    expected = train(run_config(str(tunes), tmp_path / "alone"))
    begun = RunDirectory(runs / "begun")
    assert begun.status()["step"] == 5
    train(run_config(str(tunes), begun.path), resume=True)
    assert [line["processes"] for line in steps_in(begun)] == [2, 2, 2, 2, 2, 1, 1, 1]
    assert "processes 1 (was 2)" in begun.log_path.read_text(encoding="utf-8")
    for run in (begun, RunDirectory(runs / "sharded")):
        for before, after in zip(comparable(expected), comparable(run), strict=True):
            assert after == pytest.approx(before, rel=1e-3)


def test_when_a_process_is_killed_the_others_end_with_a_message(
    tunes: Path, tmp_path: Path
) -> None:
    (code, output), (killed, _) = ends_of(start_together("fall", str(tmp_path), str(tunes)))
    assert killed == -signal.SIGKILL
    assert code == 2
    assert "another process of this run has ended" in output
    assert "step-000001.safetensors, is kept: resume from it" in output
    assert RunDirectory(tmp_path / "run").status()["state"] == "failed"


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot ask a process to end so")
def test_the_same_command_under_torchrun_saves_on_a_stop_signal(
    tunes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--master-port", "0", "--standalone",
        "-m", "rwkv_music", "train", "--corpus", str(tunes), "--out", str(out),
        "--preset", "tiny", "--steps", "100000", "--evaluate-every", "90000", "--device", "cpu",
        "--logger", "none",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        # A step and a checkpoint take as long as the machine is slow.
        env={**os.environ, "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(SECONDS_AT_MOST)},
    )  # fmt: skip
    deadline = time.monotonic() + SECONDS_AT_MOST
    run = RunDirectory(out)
    while len(run.metrics()) < 3 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    output = process.communicate(timeout=SECONDS_AT_MOST)[0]
    assert run.status()["state"] == "stopped", output
    assert load_model(run.checkpoint_path("last")).metadata["step"] == run.status()["step"]
    assert output.count("WKV kernel") == 1


def test_without_torchrun_the_group_has_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert init_process_group() is single_process()
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert init_process_group() is single_process()


def test_training_in_one_process_does_not_import_accelerate() -> None:
    code = (
        "import sys, rwkv_music.training, rwkv_music.cli.train_command; "
        "print('accelerate' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def config(**settings: Any) -> TrainingConfig:
    return TrainingConfig.preset("tiny", corpus="", out="", **settings)


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(InputError, match=r"cannot be divided among 3.*try `batch_size=6`"):
        config(batch_size=8).require_trainable_by(3)
    config(batch_size=9).require_trainable_by(3)
    with pytest.raises(InputError, match="shards a model over several processes, and there is one"):
        config(sharding="fsdp").require_trainable_by(1)
    with pytest.raises(InputError, match="needs `optimizer='adamw'`: adafactor needs whole"):
        config(batch_size=9, sharding="fsdp", optimizer="adafactor").require_trainable_by(3)


def test_without_accelerate_the_message_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.delitem(sys.modules, "rwkv_music.training.distributed.multi_process", raising=False)
    with pytest.raises(MissingExtraError, match=r"needs accelerate.*rwkv-music\[cluster\]"):
        init_process_group()


def test_the_logger_follows_the_setting_and_what_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"accelerate", "tensorboard"}
    monkeypatch.setattr(
        "rwkv_music.training.monitoring.loggers.find_spec",
        lambda name: name if name in there else None,
    )
    assert chosen_logger("auto", 1) == "none"
    assert chosen_logger("auto", 2) == "tensorboard"
    assert chosen_logger("none", 2) == "none"
    assert chosen_logger("tensorboard", 1) == "tensorboard"
    with pytest.raises(MissingExtraError, match=r"logger='wandb'` needs wandb.*music\[wandb\]"):
        chosen_logger("wandb", 1)
    there.remove("tensorboard")
    assert chosen_logger("auto", 2) == "none"
    with pytest.raises(MissingExtraError, match=r"needs tensorboard.*music\[cluster\]"):
        chosen_logger("tensorboard", 1)
