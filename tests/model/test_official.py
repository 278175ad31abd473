"""The official .pth: what RWKV-LM writes is read, what is written fits it, the rest is named."""

import argparse
import errno
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rwkv_music.errors import CheckpointError, InputError
from rwkv_music.model import (
    RWKV7,
    ModelConfig,
    MusicModel,
    initialize,
    load_model,
    load_pth,
    save_pth,
)
from tests.damaged_zip import of_later_version, with_unknown_compression
from tests.model.official_files import INNER, WIDTH, official_file, official_weights

UNUSED = ("blocks.0.att.v0", "blocks.0.att.v1", "blocks.0.att.v2")
NEW_RULE = {"w": 64, "a": 64, "v": 32, "g": 128}
"""round32 of 2.5, 2.5, 1.7 and 5 times sqrt 512."""
OLD_RULE = {"w": 32, "a": 32, "v": 32, "g": 96}
"""round32 of 1.8, 1.8 and 1.3 times sqrt 512, and of 0.6 * 512^0.8."""


def refused(folder: Path, weights: dict[str, Tensor]) -> str:
    """Return the error message of a file with these weights."""
    path = official_file(folder, weights)
    with pytest.raises(CheckpointError, match=r"official\.pth") as caught:
        load_pth(path)
    text = str(caught.value)
    assert "\n" not in text
    return text.removeprefix(f"{path}")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("block_0_value", [True, False])
def test_every_tensor_of_the_file_is_in_the_model_under_its_name(
    tmp_path: Path, dtype: torch.dtype, block_0_value: bool
) -> None:
    weights = official_weights(dtype=dtype, block_0_value=block_0_value)
    model = load_pth(official_file(tmp_path, weights))
    actual = dict(model.network.named_parameters())
    assert set(weights) - set(actual) == (set(UNUSED) if block_0_value else set())
    for name, value in actual.items():
        assert value.dtype == torch.float32
        assert value.requires_grad
        assert torch.equal(value, weights[name].float()), name
    assert not model.network.training
    assert model.tokenizer_settings is None


@pytest.mark.parametrize("inner", [NEW_RULE, OLD_RULE], ids=["new rule", "old rule"])
def test_sizes_are_read_from_the_shapes(tmp_path: Path, inner: dict[str, int]) -> None:
    weights = official_weights(inner=inner, width=512, layers=2)
    assert load_pth(official_file(tmp_path, weights)).config == ModelConfig(
        vocab_size=29,
        num_layers=2,
        dim=512,
        head_size=64,
        decay_low_rank_dim=inner["w"],
        a_low_rank_dim=inner["a"],
        v_low_rank_dim=inner["v"],
        gate_low_rank_dim=inner["g"],
    )


def test_a_model_of_one_layer_takes_its_unused_dim_from_the_file_or_the_rule(
    tmp_path: Path,
) -> None:
    with_branch = official_weights(layers=1, inner={**INNER, "v": 96})
    assert load_pth(official_file(tmp_path, with_branch)).config.v_low_rank_dim == 96
    without = official_weights(layers=1, block_0_value=False)
    assert load_pth(official_file(tmp_path, without)).config.v_low_rank_dim == 32


def test_layer_0_ignores_its_value_branch(tmp_path: Path) -> None:
    ids = torch.arange(29)[None]
    weights = official_weights()
    shared = {name: value for name, value in weights.items() if name not in UNUSED}
    later = weights | {"blocks.1.att.v0": weights["blocks.1.att.v0"] + 1}
    with torch.no_grad():
        expected, actual, different = (
            load_pth(official_file(tmp_path, stored))(ids)[0] for stored in (weights, shared, later)
        )
    assert torch.equal(actual, expected)
    assert not torch.equal(different, expected)


def test_vectors_may_be_flat_and_names_may_have_a_trainers_prefix(tmp_path: Path) -> None:
    expected = load_pth(official_file(tmp_path)).network.state_dict()
    changed = {
        f"_forward_module.module.{name}": value.flatten() if value.ndim == 3 else value
        for name, value in official_weights().items()
    }
    actual = load_pth(official_file(tmp_path, changed)).network.state_dict()
    assert list(actual) == list(expected)
    assert all(torch.equal(actual[name], value) for name, value in expected.items())


def test_two_tensors_of_one_storage_become_two_parameters(tmp_path: Path) -> None:
    weights = official_weights(dtype=torch.float32)
    weights["head.weight"] = weights["emb.weight"]
    model = load_pth(official_file(tmp_path, weights))
    assert model.network.head.weight.data_ptr() != model.network.emb.weight.data_ptr()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_file_read_written_and_read_again_is_equal_bit_by_bit(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    weights = official_weights(dtype=dtype)
    model = load_pth(official_file(tmp_path, weights))
    written = save_pth(model, tmp_path / "deep" / "ours.pth", dtype=dtype)
    stored = torch.load(written, weights_only=True)
    assert {name: value.shape for name, value in stored.items()} == {
        name: value.shape for name, value in weights.items()
    }
    for name, value in stored.items():
        assert value.dtype == dtype
        assert name in UNUSED or torch.equal(value, weights[name]), name
    back = load_pth(written)
    assert back.config == model.config
    for name, value in back.network.state_dict().items():
        assert torch.equal(value, model.network.state_dict()[name]), name
    assert not list(tmp_path.rglob("*.partial"))


def test_the_unused_branch_is_written_with_its_official_initial_values(
    tmp_path: Path,
) -> None:
    model = load_pth(official_file(tmp_path))
    path = save_pth(model, tmp_path / "ours.pth", dtype=torch.float32)
    stored = torch.load(path, weights_only=True)
    v0, v1, v2 = (stored[name] for name in UNUSED)
    # 0.73 - 0.4 (c / (C-1) - 0.5): 0.93 at the first channel, 0.53 at the last.
    assert v0[0, 0, 0].item() == pytest.approx(0.93)
    assert v0[0, 0, -1].item() == pytest.approx(0.53)
    assert not v1.any()
    torch.testing.assert_close(v2 @ v2.T, 0.01 * torch.eye(32), atol=1e-6, rtol=0)

    bare = save_pth(model, tmp_path / "bare.pth", block_0_value=False)
    assert set(torch.load(bare, weights_only=True)) == set(model.network.state_dict())


def test_a_view_of_a_larger_tensor_is_stored_without_the_rest(tmp_path: Path) -> None:
    model = RWKV7(ModelConfig(vocab_size=8, num_layers=1, dim=64))
    initialize(model, seed=0)
    small = save_pth(MusicModel(model), tmp_path / "small.pth", dtype=torch.float32).stat().st_size
    large = torch.zeros(100_000, 64)
    large[:8] = model.emb.weight.detach()
    model.emb.weight.data = large[:8]
    path = save_pth(MusicModel(model), tmp_path / "part.pth", dtype=torch.float32)
    assert path.stat().st_size == pytest.approx(small, rel=0.01)
    assert torch.equal(load_pth(path).network.emb.weight, model.emb.weight)


def test_load_model_uses_the_given_tokenizer_settings(tmp_path: Path) -> None:
    path = official_file(tmp_path)
    assert load_model(path).tokenizer_settings is None
    settings = {"steps_per_quarter": 96, "velocities": 32, "max_parts": 32}
    assert load_model(str(path), tokenizer_settings=settings).tokenizer_settings == settings
    with pytest.raises(CheckpointError, match="another vocabulary"):
        load_model("bach", tokenizer_settings={**settings, "max_parts": 7})


def test_a_missing_tensor_is_named_with_its_shape(tmp_path: Path) -> None:
    weights = official_weights()
    del weights["blocks.1.att.k_k"]
    del weights["blocks.2.att.k_k"]
    assert refused(tmp_path, weights) == (
        ": blocks.1.att.k_k is missing, expected [1, 1, 128]: it is damaged, or was not made for "
        "RWKV-7 (x070)"
    )
    assert "emb.weight is missing, expected [V, C]" in refused(tmp_path, {"a": torch.zeros(1)})


def test_the_first_tensor_of_another_shape_is_named_with_both(tmp_path: Path) -> None:
    weights = official_weights()
    weights["blocks.1.ffn.key.weight"] = torch.zeros(448, WIDTH)
    weights["blocks.1.ffn.value.weight"] = torch.zeros(WIDTH, 448)
    text = refused(tmp_path, weights)
    assert text.startswith(": blocks.1.ffn.key.weight is [448, 128], expected [512, 128]: ")
    weights = official_weights()
    weights["blocks.0.att.w1"] = torch.zeros(WIDTH)
    assert ": blocks.0.att.w1 is [128], expected [C, D]: " in refused(tmp_path, weights)


def test_a_missing_layer_is_refused(tmp_path: Path) -> None:
    weights = {
        name: value
        for name, value in official_weights().items()
        if not name.startswith("blocks.1.")
    }
    assert ": blocks.1.ln1.weight is missing, expected [128]: " in refused(tmp_path, weights)


def test_a_dim_that_is_no_multiple_of_the_head_size_is_refused(tmp_path: Path) -> None:
    weights = official_weights()
    weights["emb.weight"] = torch.zeros(29, 100)
    assert refused(tmp_path, weights) == (
        ": blocks.0.att.r_k is [2, 64], expected [H, N] with H * N = 100, the dim of emb.weight: "
        "dim must be a multiple of the head size, which is 64 in official files"
    )


def test_an_unexpected_tensor_is_named(tmp_path: Path) -> None:
    weights = official_weights() | {"blocks.1.att.extra": torch.zeros(2, 3)}
    text = refused(tmp_path, weights)
    assert text.startswith(": blocks.1.att.extra is [2, 3], expected no such tensor: ")


def test_impossible_sizes_are_refused(tmp_path: Path) -> None:
    weights = official_weights()
    weights["emb.weight"] = torch.zeros(0, WIDTH)
    assert "is not an RWKV-7 model: its vocab_size must be at least 1, got 0" in refused(
        tmp_path, weights
    )


def test_quantized_weights_are_refused(tmp_path: Path) -> None:
    weights = official_weights()
    weights["head.weight"] = torch.zeros(29, WIDTH, dtype=torch.int8)
    assert ": head.weight is stored as torch.int8, expected bfloat16" in refused(tmp_path, weights)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("blocks.0.att.time_maa_x", "it is an RWKV-6 model: only RWKV-7"),
        ("blocks.0.att.time_faaaa", "it is an RWKV-5 model: only RWKV-7"),
        ("blocks.0.att.time_decay", "it is an RWKV-4 or RWKV-5 model: only RWKV-7"),
        ("blocks.0.att.receptance.lora_A", "it holds the weights of an adapter: merge them"),
        ("blocks.0.att.time_state", "it is a state file: read it with load_state"),
        ("blocks.0.ffn.s_emb.weight", "it is an RWKV-7a, -7b or -8 model"),
        ("model.layers.0.attn.r_proj.weight", "it has Hugging Face's names: use the .pth"),
    ],
)
def test_files_of_other_models_are_recognized(tmp_path: Path, name: str, cause: str) -> None:
    assert cause in refused(tmp_path, {name: torch.zeros(2, 64, 64)})


def test_a_state_merged_into_a_model_is_recognized(tmp_path: Path) -> None:
    weights = official_weights() | {"blocks.0.att.time_state": torch.zeros(2, 64, 64)}
    assert ": blocks.0.att.time_state is [2, 64, 64], expected no such tensor: a tuned state" in (
        refused(tmp_path, weights)
    )


def test_half_a_file_is_refused(tmp_path: Path) -> None:
    path = official_file(tmp_path)
    whole = path.read_bytes()
    old_form = tmp_path / "old.pth"
    torch.save(official_weights(), old_form, _use_new_zipfile_serialization=False)
    old = old_form.read_bytes()
    for half in (whole[: len(whole) // 2], whole[:100], old[: len(old) // 2], old[:60]):
        path.write_bytes(half)
        with pytest.raises(CheckpointError, match=r"is not a complete torch file \(.+\): copy it"):
            load_pth(path)
    index = whole.find(b"data.pkl") + 80
    path.write_bytes(whole[:index] + b"\xff" * 20 + whole[index + 20 :])
    with pytest.raises(CheckpointError, match=r"checksum of its member official/data.pkl differs"):
        load_pth(path)


@pytest.mark.parametrize("damage", [with_unknown_compression, of_later_version])
def test_an_archive_that_cannot_be_unpacked_is_refused(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = official_file(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"is not a complete torch file \(.+\): copy it"):
        load_pth(path)


def test_the_format_before_torch_1_6_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save(official_weights(), path, _use_new_zipfile_serialization=False)
    assert torch.equal(
        load_pth(path).network.head.weight, official_weights()["head.weight"].float()
    )


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "code.pth"
    torch.save({"args": argparse.Namespace(lr=1)}, path)
    with pytest.raises(
        CheckpointError, match=r"contains code \(argparse.Namespace\), which is refu"
    ):
        load_pth(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], "holds a list, expected tensors by name"),
        ({}, "holds an empty dict, expected tensors by name"),
        ({"step": 3}, "its entry 'step' is an int, expected a tensor: it is a trainer's own"),
        ({"state_dict": {"a": torch.zeros(1)}}, "its entry 'state_dict' is a dict, expected a t"),
    ],
)
def test_a_file_without_named_tensors_is_refused(
    tmp_path: Path, content: object, message: str
) -> None:
    path = tmp_path / "content.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=message):
        load_pth(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no file .*nowhere\.pth: check"):
        load_pth(tmp_path / "nowhere.pth")
    with pytest.raises(
        CheckpointError, match=r"is not a file: give the .safetensors or \.pth file inside it"
    ):
        load_pth(tmp_path)


def test_names_and_dtypes_that_the_rwkv_package_cannot_open_are_refused(tmp_path: Path) -> None:
    model = load_pth(official_file(tmp_path))
    with pytest.raises(InputError, match=r"ends in .pth, got 'model.pt': rename it"):
        save_pth(model, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"bfloat16 or torch\.float32, got torch\.float64"):
        save_pth(model, tmp_path / "model.pth", dtype=torch.float64)


@pytest.mark.parametrize("problem", [RuntimeError("disk full"), OSError(errno.ENOSPC, "disk full")])
def test_a_write_that_fails_half_way_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    path = official_file(tmp_path)
    model, old = load_pth(path), path.read_bytes()

    def write(_: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise problem

    monkeypatch.setattr(torch, "save", write)
    with pytest.raises(
        CheckpointError, match=r"cannot write .* \(disk full\): free some disk space"
    ):
        save_pth(model, path)
    assert [path.name for path in tmp_path.iterdir()] == ["official.pth"]
    assert path.read_bytes() == old
