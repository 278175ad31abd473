"""Official files whose tensor names carry the prefixes of wrappers."""

from pathlib import Path

import pytest
import torch

from rwkv_music.errors import CheckpointError
from rwkv_music.model import load_model, load_pth, load_state
from tests.model.official_files import LAYERS, official_file, official_weights

PREFIXES = (
    "_orig_mod.",
    "module.",
    "_fsdp_wrapped_module.",
    "_forward_module.",
    "model.",
    "base_model.model.",
    "_orig_mod.module.",
    "module._orig_mod.",
    "_forward_module.model._orig_mod.",
    "base_model.model._fsdp_wrapped_module.module.",
)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_of_wrappers_are_removed(tmp_path: Path, prefix: str) -> None:
    weights = official_weights()
    expected = load_pth(official_file(tmp_path, weights)).network.state_dict()
    wrapped = {f"{prefix}{name}": value for name, value in weights.items()}
    actual = load_model(official_file(tmp_path, wrapped)).network.state_dict()
    assert actual.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in actual.items())


@pytest.mark.parametrize(
    "part", ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"]
)
def test_wrappers_of_single_layers_are_removed(tmp_path: Path, part: str) -> None:
    wrapped = {
        name.replace("blocks.1.", f"blocks.1.{part}."): value
        for name, value in official_weights().items()
    }
    assert set(wrapped) != set(official_weights())
    assert load_pth(official_file(tmp_path, wrapped)).config.num_layers == LAYERS


def test_a_wrapped_state_file_is_read(tmp_path: Path) -> None:
    config = load_pth(official_file(tmp_path)).config
    state = {
        f"module.blocks.{layer}.att.time_state": torch.full((2, 64, 64), float(layer))
        for layer in range(LAYERS)
    }
    assert load_state(official_file(tmp_path, state), config).layers[1].wkv[0, 0, 0, 0] == 1


def test_two_models_in_one_file_are_refused(tmp_path: Path) -> None:
    weights = official_weights()
    both = weights | {f"module.{name}": value for name, value in weights.items()}
    with pytest.raises(
        CheckpointError, match=r"tensor emb\.weight twice, under different prefixes"
    ):
        load_pth(official_file(tmp_path, both))


@pytest.mark.parametrize("name", ["MODEL.PTH", "model.Pth", "model.pt", "model.bin", "model"])
def test_an_official_file_is_recognized_by_its_content(tmp_path: Path, name: str) -> None:
    path = official_file(tmp_path).rename(tmp_path / name)
    assert load_model(path).config.num_layers == LAYERS
