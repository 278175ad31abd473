"""Sizes: names and shapes of official checkpoints, published parameter counts, refusals."""

import math

import pytest
import torch

from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelConfig, ModelState

CONFIG = ModelConfig(vocab_size=23, num_layers=3, dim=128)


def test_names_and_shapes_are_those_of_official_checkpoints() -> None:
    shapes = {name: tuple(value.shape) for name, value in RWKV7(CONFIG).named_parameters()}
    assert shapes["emb.weight"] == shapes["head.weight"] == (23, 128)
    assert shapes["blocks.0.ln0.weight"] == (128,)
    assert shapes["blocks.1.att.x_r"] == shapes["blocks.1.att.w0"] == (1, 1, 128)
    assert shapes["blocks.1.att.w1"] == (128, 32 * round(2.5 * math.sqrt(128) / 32))
    assert shapes["blocks.1.att.v2"] == (32, 128)
    assert shapes["blocks.1.att.g1"] == (128, 64)
    assert shapes["blocks.1.att.r_k"] == (2, 64)
    assert shapes["blocks.1.att.receptance.weight"] == (128, 128)
    assert shapes["blocks.1.att.ln_x.bias"] == (128,)
    assert shapes["blocks.1.ffn.key.weight"] == (512, 128)
    assert "blocks.1.ln0.weight" not in shapes
    assert "blocks.0.att.v1" not in shapes


def test_the_number_of_parameters_is_the_formula() -> None:
    for layers, dim in ((1, 64), (3, 128), (4, 192)):
        config = ModelConfig(vocab_size=23, num_layers=layers, dim=dim)
        ranks = (
            config.decay_low_rank_dim
            + config.a_low_rank_dim
            + config.v_low_rank_dim
            + config.gate_low_rank_dim
        )
        # The formula counts v0, v1, v2 in every layer; ours has none in the first.
        first = dim * (1 + 2 * config.v_low_rank_dim)
        expected = 2 * 23 * dim + 4 * dim - first
        expected += layers * (19 * dim + 12 * dim**2 + 2 * dim * ranks)
        counted = sum(parameter.numel() for parameter in RWKV7(config).parameters())
        assert counted == expected


@pytest.mark.parametrize(
    ("layers", "dim", "millions"), [(12, 256, 11.0), (12, 512, 42.5), (24, 512, 83.9)]
)
def test_sizes_are_those_published(layers: int, dim: int, millions: float) -> None:
    with torch.device("meta"):
        model = RWKV7(ModelConfig(vocab_size=1024, num_layers=layers, dim=dim))
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert counted / 1e6 == pytest.approx(millions, abs=0.1)


def test_low_rank_dims_follow_the_rule_unless_given() -> None:
    rule = ModelConfig(vocab_size=5, num_layers=1, dim=512)
    widths = (
        rule.decay_low_rank_dim,
        rule.a_low_rank_dim,
        rule.v_low_rank_dim,
        rule.gate_low_rank_dim,
    )
    assert widths == (64, 64, 32, 128)
    older = ModelConfig(
        vocab_size=5, num_layers=1, dim=512, decay_low_rank_dim=32, gate_low_rank_dim=96
    )
    assert (older.decay_low_rank_dim, older.a_low_rank_dim, older.gate_low_rank_dim) == (32, 64, 96)
    assert ModelConfig.from_dict(older.to_dict()) == older


def test_the_state_does_not_grow_with_the_music() -> None:
    # L (2 C + 64 C) numbers a sequence.
    empty = ModelState.zeros(CONFIG, 2)
    assert empty.num_values == 2 * 3 * (2 * 128 + 64 * 128)
    _, after = RWKV7(CONFIG)(torch.zeros(2, 9, dtype=torch.int64))
    assert after.num_values == empty.num_values


def test_a_setting_of_another_version_is_refused() -> None:
    with pytest.raises(InputError, match="unknown model setting 'colour'"):
        ModelConfig.from_dict({**CONFIG.to_dict(), "colour": 3})


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"dim": 100}, "dim must be a multiple of head_size=64, got 100"),
        ({"dim": 3, "head_size": 1}, "head_size must be at least 2, got 1"),
        (
            {"gate_low_rank_dim": -3},
            "gate_low_rank_dim must be at least 1, or 0 for .* rule, got -3",
        ),
        ({"num_layers": 0}, "num_layers must be at least 1, got 0"),
        ({"dropout": 1.5}, r"dropout must be in \[0, 1\), got 1.5"),
    ],
)
def test_invalid_sizes_are_refused(sizes: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ModelConfig(**{"vocab_size": 5, "num_layers": 1, "dim": 64, **sizes})
