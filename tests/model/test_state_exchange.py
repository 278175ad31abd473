"""States as other RWKV programs keep them: files of tuned states, and the rwkv package's list."""

from pathlib import Path

import pytest
import torch

from rwkv_music.errors import CheckpointError, InputError
from rwkv_music.model import (
    ModelConfig,
    ModelState,
    load_pth,
    load_state,
    save_state,
    state_from_list,
    state_to_list,
)
from tests.model.official_files import official_file

CONFIG = ModelConfig(vocab_size=29, num_layers=2, dim=128)
IDS = torch.randint(29, (1, 40), generator=torch.Generator().manual_seed(2))


def tuned(dtype: torch.dtype = torch.bfloat16) -> dict[str, torch.Tensor]:
    """What RWKV-PEFT stores after state tuning: [H, value, key] for each layer."""
    generator = torch.Generator().manual_seed(4)
    return {
        f"blocks.{layer}.att.time_state": torch.randn(2, 64, 64, generator=generator).to(dtype)
        for layer in range(2)
    }


def read(folder: Path, tensors: dict[str, torch.Tensor]) -> ModelState:
    return load_state(official_file(folder, tensors), CONFIG)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_tuned_state_is_read_as_values_by_keys_with_shifts_of_zero(
    tmp_path: Path, prefix: str
) -> None:
    stored = {prefix + name: value for name, value in tuned().items()}
    state = read(tmp_path, stored)
    assert len(state.layers) == 2
    for layer, value in zip(state.layers, tuned().values(), strict=True):
        assert layer.wkv.dtype == torch.float32
        assert torch.equal(layer.wkv[0], value.float())
        assert layer.time_shift.shape == layer.channel_shift.shape == (1, 128)
        assert not layer.time_shift.any()
        assert not layer.channel_shift.any()


def test_a_state_read_written_and_read_again_is_equal_bit_by_bit(tmp_path: Path) -> None:
    state = read(tmp_path, tuned())
    path = save_state(state, tmp_path / "ours.pth")
    stored = torch.load(path, weights_only=True)
    assert {name: (value.shape, value.dtype) for name, value in stored.items()} == {
        name: (value.shape, torch.float32) for name, value in tuned().items()
    }
    for actual, expected in zip(load_state(path, CONFIG).layers, state.layers, strict=True):
        assert torch.equal(actual.wkv, expected.wkv)


def test_a_tuned_state_starts_a_whole_batch(tmp_path: Path) -> None:
    model = load_pth(official_file(tmp_path))
    config = model.config
    state = load_state(
        official_file(tmp_path, tuned() | {"blocks.2.att.time_state": torch.ones(2, 64, 64)}),
        config,
    )
    with torch.no_grad():
        alone, _ = model(IDS, state)
        batch, _ = model(IDS.repeat(3, 1), state.select([0] * 3))
        untuned, _ = model(IDS)
    torch.testing.assert_close(batch, alone.repeat(3, 1, 1))
    assert not torch.allclose(alone, untuned)


def test_a_state_beside_other_tensors_is_found(tmp_path: Path) -> None:
    merged = tuned() | {"emb.weight": torch.zeros(29, 128)}
    assert torch.equal(read(tmp_path, merged).layers[1].wkv, read(tmp_path, tuned()).layers[1].wkv)


def test_a_state_of_another_model_is_refused_with_both_shapes(tmp_path: Path) -> None:
    more = tuned() | {"blocks.2.att.time_state": torch.zeros(2, 64, 64)}
    less = {name: value for name, value in tuned().items() if "blocks.1" not in name}
    wide = {name: torch.zeros(4, 64, 64) for name in tuned()}
    for stored, message in (
        (more, "blocks.2.att.time_state is [2, 64, 64], expected no such tensor: "),
        (less, "blocks.1.att.time_state is missing, expected [2, 64, 64]: "),
        (wide, "blocks.0.att.time_state is [4, 64, 64], expected [2, 64, 64]: "),
    ):
        with pytest.raises(CheckpointError, match="belongs to a model of other sizes") as caught:
            read(tmp_path, stored)
        assert message in str(caught.value)


def test_a_file_without_a_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"not a state file; load a model with load_model"):
        load_state(official_file(tmp_path), CONFIG)
    whole = {name: value.to(torch.int8) for name, value in tuned().items()}
    with pytest.raises(CheckpointError, match=r"blocks\.0\.att\.time_state is stored as torch.int"):
        read(tmp_path, whole)


def test_what_a_state_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"of one sequence, got 3: select one"):
        save_state(ModelState.zeros(CONFIG, 3), tmp_path / "state.pth")
    model = load_pth(official_file(tmp_path))
    with torch.no_grad():
        _, state = model(IDS)
    with pytest.raises(InputError, match=r"no place for token shifts.*state\.without_shifts\(\)"):
        save_state(state, tmp_path / "state.pth")
    path = save_state(state.without_shifts(), tmp_path / "state.pth")
    back = load_state(path, model.config)
    assert torch.equal(back.layers[2].wkv, state.layers[2].wkv)


def test_a_state_survives_the_conversion_to_a_list_and_back(tmp_path: Path) -> None:
    model = load_pth(official_file(tmp_path))
    with torch.no_grad():
        whole, _ = model(IDS)
        _, between = model(IDS[:, :17])
        flat = state_to_list(between)
        rest, _ = model(IDS[:, 17:], state_from_list(flat, model.config))
    assert [tuple(tensor.shape) for tensor in flat[:3]] == [(128,), (2, 64, 64), (128,)]
    assert len(flat) == 9
    torch.testing.assert_close(rest, whole[:, 17:])
    flat[1].zero_()
    assert between.layers[0].wkv.any(), "the list must hold copies"


def test_shifts_take_the_dtype_of_the_packages_strategy() -> None:
    flat = state_to_list(ModelState.zeros(CONFIG, 1), dtype=torch.float16)
    assert [tensor.dtype for tensor in flat[:3]] == [torch.float16, torch.float32, torch.float16]
    back = state_from_list(flat, CONFIG)
    assert back.layers[0].time_shift.dtype == torch.float32


def test_a_list_of_another_model_is_refused() -> None:
    flat = state_to_list(ModelState.zeros(CONFIG, 1))
    with pytest.raises(InputError, match="2 layers is a list of 6 tensors, got 5"):
        state_from_list(flat[:5], CONFIG)
    flat[4] = torch.zeros(1, 64, 64)
    with pytest.raises(InputError, match=r"tensor 4 of the state is \[1, 64, 64\], expected \[2,"):
        state_from_list(flat, CONFIG)
    with pytest.raises(InputError, match="state of one sequence, got 2"):
        state_to_list(ModelState.zeros(CONFIG, 2))


def test_a_detached_state_stops_gradients_and_a_moved_one_keeps_its_dtypes(tmp_path: Path) -> None:
    model = load_pth(official_file(tmp_path))
    _, state = model(IDS)
    assert state.layers[1].wkv.requires_grad
    detached = state.detach()
    assert not detached.layers[1].wkv.requires_grad
    assert torch.equal(detached.layers[1].wkv, state.layers[1].wkv)
    half = ModelState.zeros(CONFIG, 1, dtype=torch.bfloat16).to("meta")
    assert half.layers[0].wkv.dtype == torch.float32
    assert half.layers[0].time_shift.dtype == torch.bfloat16
    assert half.layers[0].channel_shift.device.type == "meta"
