"""Checkpoints: what is written comes back, and what does not fit is refused in one line."""

import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from rwkv_music.errors import CheckpointError
from rwkv_music.model import (
    RWKV7,
    ModelConfig,
    MusicModel,
    initialize,
    load_checkpoint,
    load_model,
    save_checkpoint,
)

SETTINGS = {"steps_per_quarter": 96, "velocities": 32, "max_parts": 32}


def model(dim: int = 64) -> RWKV7:
    made = RWKV7(ModelConfig(vocab_size=11, num_layers=2, dim=dim))
    initialize(made, seed=0)
    return made


def saved(path: Path, **settings: torch.dtype) -> Path:
    return save_checkpoint(MusicModel(model(), SETTINGS, {"step": 3}), path, **settings)


def header_of(path: Path) -> dict[str, str]:
    """A checkpoint's header without its checksum, as version 0.1.0 wrote it."""
    with safe_open(path, framework="pt") as stored:
        header = stored.metadata()
    return {name: text for name, text in header.items() if name not in ("checksum", "sha256")}


def test_weights_sizes_tokenizer_and_metadata_are_restored(tmp_path: Path) -> None:
    back = load_checkpoint(saved(tmp_path / "deep" / "model.safetensors"))
    expected = dict(model().named_parameters())
    for name, value in back.network.named_parameters():
        assert torch.equal(value, expected[name]), name
    assert back.tokenizer_settings == SETTINGS
    assert back.metadata == {"step": 3}
    assert not back.network.training
    assert not list(tmp_path.rglob("*.partial"))


def test_bfloat16_halves_the_file_and_loads_as_float32(tmp_path: Path) -> None:
    full = saved(tmp_path / "full.safetensors")
    half = saved(tmp_path / "half.safetensors", dtype=torch.bfloat16)
    assert half.stat().st_size < 0.6 * full.stat().st_size
    back = load_checkpoint(half)
    assert back.network.head.weight.dtype == torch.float32
    torch.testing.assert_close(back.network.head.weight, model().head.weight, rtol=2**-7, atol=0)


def test_a_run_directory_loads_its_best_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no checkpoint yet: wait"):
        load_model(tmp_path)
    saved(tmp_path / "checkpoints" / "last.safetensors")
    assert load_model(tmp_path).metadata == {"step": 3}


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="is a text file, not a model"):
        load_checkpoint(bad)
    whole = saved(tmp_path / "whole.safetensors").read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="is not a complete safetensors file"):
        load_checkpoint(bad)
    save_file({"x": torch.zeros(2)}, bad)
    with pytest.raises(CheckpointError, match=r"is not a checkpoint of rwkv-music"):
        load_checkpoint(bad)
    with pytest.raises(CheckpointError, match="there is no file"):
        load_checkpoint(tmp_path / "nowhere.safetensors")


def test_weights_of_other_sizes_are_refused_with_both_shapes(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.safetensors")
    header = {
        "format": "rwkv-music 1",
        "model": json.dumps(ModelConfig(vocab_size=11, num_layers=2, dim=128).to_dict()),
        "tokenizer": json.dumps(SETTINGS),
        "metadata": "{}",
    }
    save_file(load_file(path), path, metadata=header)
    with pytest.raises(CheckpointError, match=r"emb.weight is \[11, 64\], .* ask for \[11, 128\]"):
        load_checkpoint(path)


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="reads tokens of another vocabulary"):
        load_checkpoint(path, tokenizer_settings={**SETTINGS, "steps_per_quarter": 480})


def test_a_path_that_cannot_be_written_is_refused_without_leftovers(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot write the checkpoint"):
        saved(tmp_path / "file" / "model.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "problem", [SafetensorError("disk full"), OSError(errno.ENOSPC, "disk full")]
)
def test_a_write_that_fails_half_way_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    old = saved(tmp_path / "model.safetensors").read_bytes()
    interrupted(monkeypatch, problem)
    with pytest.raises(
        CheckpointError, match=r"cannot write .* \(disk full\): free some disk space"
    ):
        saved(tmp_path / "model.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert (tmp_path / "model.safetensors").read_bytes() == old


def test_an_interruption_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        saved(tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def interrupted(monkeypatch: pytest.MonkeyPatch, problem: BaseException) -> None:
    """From now on weights are written by half, then the problem comes."""

    def write(_: object, path: Path, **__: object) -> None:
        path.write_bytes(b"half")
        raise problem

    monkeypatch.setattr("rwkv_music.model.safetensors_files.save_file", write)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("head.weight", r"has no tensor head.weight \[11, 64\]: it is damaged"),
        (None, r"has an unexpected tensor blocks.0.att.v0: header"),
    ],
)
def test_missing_and_unexpected_tensors_are_named(
    tmp_path: Path, name: str | None, message: str
) -> None:
    path = saved(tmp_path / "model.safetensors")
    header, weights = header_of(path), load_file(path)
    if name is None:
        weights["blocks.0.att.v0"] = torch.zeros(1, 1, 64)
    else:
        del weights[name]
    save_file(weights, path, metadata=header)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


@pytest.mark.parametrize("key", ["model", "tokenizer", "metadata"])
@pytest.mark.parametrize("value", [None, "{", "[]"])
def test_a_header_without_what_a_model_needs_is_refused(
    tmp_path: Path, key: str, value: str | None
) -> None:
    path = saved(tmp_path / "model.safetensors")
    header = {name: text for name, text in header_of(path).items() if name != key}
    if value is not None:
        header[key] = value
    save_file(load_file(path), path, metadata=header)
    with pytest.raises(CheckpointError, match=f"not a checkpoint .*'{key}'.*") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError,
        match=r"no model 'bahc': give the name of a shipped model \(bach, general, pop\)",
    ):
        load_model("bahc")
    with pytest.raises(CheckpointError, match=r"is not a file: give the .safetensors"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_file_and_its_best_and_last_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for step, name in enumerate(("last", "best")):
        save_checkpoint(
            MusicModel(model(), SETTINGS, {"step": step}), folder / f"{name}.safetensors"
        )
    assert load_model(tmp_path).metadata == {"step": 1}
    assert load_model(str(folder / "last.safetensors")).metadata == {"step": 0}


def test_a_loaded_model_gives_the_logits_of_the_saved_one(tmp_path: Path) -> None:
    source = model().eval()
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    assert torch.equal(load_checkpoint(saved(tmp_path / "m.safetensors"))(ids)[0], source(ids)[0])
