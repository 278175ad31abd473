"""Damaged files of a run: the checkpoint before, a line less, or one sentence."""

import errno
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from rwkv_music.errors import CheckpointError, InputError
from rwkv_music.model.safetensors_files import read_safetensors, write_safetensors
from rwkv_music.training import TrainingConfig, train
from rwkv_music.training.callbacks import Callbacks
from rwkv_music.training.run import checkpoints
from rwkv_music.training.run.control import STOP
from rwkv_music.training.run.directory import RunDirectory
from rwkv_music.training.run.resume import settings_of
from rwkv_music.training.trainer import StepMetrics
from tests.training.curves import curve

SETTINGS = {
    "steps": 9, "evaluate_every": 4, "save_every": 3, "dropout": 0.2, "sample_prompts": 1,
    "seed": 1, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(tunes: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The metrics of the whole run."""
    out = str(tmp_path_factory.mktemp("whole") / "run")
    return curve(train(TrainingConfig.preset("tiny", corpus=str(tunes), out=out, **SETTINGS)))


@pytest.fixture(scope="module")
def stopped(tunes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, stopped after step 7, with checkpoints of the steps 6 and 7."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    control = RunDirectory(out).control

    def on_step(metrics: StepMetrics) -> None:
        if metrics.step == 7:
            control.ask(STOP)

    config = TrainingConfig.preset("tiny", corpus=str(tunes), out=str(out), **SETTINGS)
    train(config, callbacks=Callbacks(on_step=on_step))
    return out


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> RunDirectory:
    """A copy of the stopped run."""
    return RunDirectory(shutil.copytree(stopped, tmp_path / "run"))


def resumed(run: RunDirectory) -> list[str]:
    """Resume a run; return its notes."""
    notes: list[str] = []
    train(settings_of(run.path), resume=True, callbacks=Callbacks(on_note=notes.append))
    return notes


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None]) -> None:
    """Change tensors and facts of a training file, with a checksum that is right."""
    header, tensors = read_safetensors(path)
    metadata = json.loads(header["facts"])
    change(tensors, metadata)
    write_safetensors(tensors, path, {"step": header["step"], "facts": json.dumps(metadata)})


def replaced(name: str, tensor: torch.Tensor | None) -> Callable[..., None]:
    def change(tensors: dict[str, torch.Tensor], _facts: dict[str, Any]) -> None:
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor

    return change


def without_fact(name: str, value: Any = None) -> Callable[..., None]:
    def change(_tensors: dict[str, torch.Tensor], metadata: dict[str, Any]) -> None:
        if value is None:
            del metadata[name]
        else:
            metadata[name] = value

    return change


MOMENT = "optimizer/head.weight/exp_avg"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (replaced(MOMENT, torch.zeros(1)), r"head.weight/exp_avg has the shape \[1\], expected"),
        (replaced(MOMENT, torch.zeros(64, 2048)), r"has the shape \[64, 2048\], expected"),
        (replaced(MOMENT, torch.zeros(2048, 64).double()), "has the dtype torch.float64"),
        (replaced(MOMENT, None), "lacks the tensor optimizer/head.weight/exp_avg"),
        (replaced("optimizer/nothing/exp_avg", torch.zeros(1)), "unknown tensor optimizer/nothing"),
        (replaced("random/cpu", None), "lacks the tensor random/cpu"),
        (replaced("random/cpu", torch.zeros(9, dtype=torch.uint8)), "random/cpu has the shape"),
        (replaced("carried/0.wkv", torch.zeros(4, 1, 64, 64)), "unknown tensor carried/0.wkv"),
        (without_fact("stream"), "'stream' is missing"),
        (without_fact("stream", {"epoch": 1}), "its position in the data is damaged"),
        (without_fact("early_stopping", {"loss": "low"}), "is damaged"),
        (without_fact("elapsed_seconds", "long"), "is damaged"),
    ],
)
def test_a_training_file_that_does_not_fit_gives_way_to_the_one_before(
    change: Callable[..., None],
    reason: str,
    run: RunDirectory,
    uninterrupted: list[dict[str, Any]],
) -> None:
    rewrite(run.checkpoints().training_path(7), change)
    notes = resumed(run)
    assert notes[0].startswith("the checkpoint of step 7 is passed over: ")
    assert re.search(reason, notes[0]), notes[0]
    assert "resumes from step 6" in notes[1]
    assert curve(run) == uninterrupted


def test_a_flipped_byte_gives_way_to_the_checkpoint_before_and_stays(
    run: RunDirectory, uninterrupted: list[dict[str, Any]]
) -> None:
    path = run.checkpoints().training_path(7)
    content = bytearray(path.read_bytes())
    content[len(content) * 6 // 10] ^= 0x40
    path.write_bytes(bytes(content))
    notes = resumed(run)
    assert "the checkpoint of step 7 is passed over" in notes[0]
    assert "its checksum differs" in notes[0]
    assert curve(run) == uninterrupted
    # The damaged file is neither deleted nor written over.
    assert path.with_name(f"{path.name}.damaged").read_bytes() == bytes(content)


def test_a_training_file_of_an_earlier_version_resumes_exactly(
    run: RunDirectory, uninterrupted: list[dict[str, Any]]
) -> None:
    path = run.checkpoints().training_path(7)
    header, tensors = read_safetensors(path)
    metadata = json.loads(header["facts"])
    best = metadata.pop("early_stopping")
    best["looks_since"] = best.pop("evaluations_since_best")
    old = {**metadata, "best": best, "look_is_due": metadata.pop("evaluation_is_due")}
    old.pop("evaluation_is_due")
    save_file(tensors, path, metadata={"step": "7", "facts": json.dumps(old)})
    assert "resumes from step 7" in resumed(run)[0]
    assert curve(run) == uninterrupted
    with safe_open(run.checkpoints().training_path(9), framework="pt") as written:
        assert {"facts", "sha256"} <= written.metadata().keys()


def test_a_disk_error_does_not_make_a_whole_checkpoint_damaged(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(path.name for path in (run.path / "checkpoints").iterdir())

    def fail(path: Path) -> Any:
        error = OSError(errno.EIO, "Input/output error", str(path))
        raise CheckpointError(f"{path} is not a complete file ({error})") from error

    monkeypatch.setattr(checkpoints, "read_safetensors", fail)
    with pytest.raises(InputError, match=r"step 7 \(Input/output error\): try again when"):
        resumed(run)
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == before


def test_a_damaged_line_of_the_metrics_costs_that_line_only(
    run: RunDirectory, uninterrupted: list[dict[str, Any]]
) -> None:
    lines = run.metrics_path.read_bytes().splitlines(keepends=True)
    # Half a line, a line of another form, text that is not UTF-8, and a line without step.
    lines[1] = lines[1][:40] + b"\n"
    run.metrics_path.write_bytes(b'{"a": 1}\n\xff\xfe\n[1]\n' + b"".join(lines))
    assert len(run.metrics()) == len(lines) - 1
    resumed(run)
    assert curve(run) == uninterrupted[:1] + uninterrupted[2:]
    assert (run.path / "samples" / "step-000004-1.mid").exists()
    assert "4 damaged lines of metrics.jsonl are dropped" in run.log_path.read_text("utf-8")


@pytest.mark.parametrize("content", [b"", b'{"state": "runn', b"[]", b"{}", b"\xff", b"null"])
def test_a_damaged_status_does_not_prevent_resuming(
    content: bytes, run: RunDirectory, uninterrupted: list[dict[str, Any]]
) -> None:
    run.status_path.write_bytes(content)
    assert run.status()["state"] == "failed"
    assert "status.json is damaged" in run.status()["message"]
    resumed(run)
    assert curve(run) == uninterrupted
    assert run.status()["state"] == "finished"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:300],
        lambda _text: "[]",
        lambda _text: "null",
        lambda text: text.replace('"sessions"', '"other"'),
        lambda text: text.replace('"corpus": {', '"other": {'),
        lambda text: text.replace('"tokenizer"', '"other"'),
        lambda text: text.replace('"steps": 9', '"steps": "nine"'),
        lambda text: text.replace('"steps": 9', '"steps": null'),
        lambda text: text.replace('"config": {', '"config": [], "other": {'),
    ],
)
def test_a_damaged_config_is_one_sentence(damage: Callable[[str], str], run: RunDirectory) -> None:
    run.config_path.write_text(damage(run.config_path.read_text("utf-8")), "utf-8")
    before = run.checkpoints().steps()
    with pytest.raises(InputError) as refusal:
        resumed(run)
    assert "\n" not in str(refusal.value)
    assert run.checkpoints().steps() == before
