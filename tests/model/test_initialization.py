"""The official initial values, by hand."""

import pytest
import torch

from rwkv_music.model import RWKV7, ModelConfig, initialize

CONFIG = ModelConfig(vocab_size=23, num_layers=3, dim=128)


def test_the_official_initial_values_by_hand() -> None:
    model = RWKV7(CONFIG)
    initialize(model, seed=0)
    att = model.blocks[1].att
    channel = 100
    # Layer 1 of 3: r01 = 1/2, r10 = 2/3; channel 100 is number 36 of the second head.
    within = (36 - 31.5) / 31.5
    zigzag = within * abs(within)
    w0 = -6 + 6 * (100 / 127) ** (1 + 0.5**0.3) + 0.5 + 2.5 * zigzag
    assert att.w0[0, 0, channel].item() == pytest.approx(w0, rel=1e-5)
    assert att.x_k[0, 0, channel].item() == pytest.approx(1 - (100 / 128) ** (0.7 * 2 / 3))
    a0 = -0.19 + 0.3 * zigzag + 0.4 * (100 / 127 - 0.5)
    assert att.a0[0, 0, channel].item() == pytest.approx(a0, rel=1e-5)
    assert att.ln_x.weight[5].item() == pytest.approx((2 / 3) ** 0.7)
    assert att.k_a.unique().tolist() == [pytest.approx(1.02)]
    assert att.r_k.unique().tolist() == [pytest.approx(-0.04)]
    assert not att.output.weight.any()
    assert not model.blocks[2].ffn.value.weight.any()
    for first in ("w1", "a1", "v1", "g1"):
        assert not att.get_parameter(first).any()
    gram = att.key.weight.double() @ att.key.weight.double().T
    torch.testing.assert_close(gram, 0.01 * torch.eye(128, dtype=torch.float64), atol=1e-6, rtol=0)
    assert model.emb.weight.abs().max() <= 1e-4
    ffn = model.blocks[1].ffn.x_k[0, 0, channel].item()
    assert ffn == pytest.approx(1 - (100 / 128) ** ((2 / 3) ** 4), rel=1e-5)


def test_low_rank_branches_and_the_head_are_orthogonal_with_their_gains() -> None:
    model = RWKV7(ModelConfig(vocab_size=256, num_layers=2, dim=64, gate_low_rank_dim=96))
    initialize(model, seed=0)
    att = model.blocks[1].att
    for name, gain in (("w2", 0.1), ("a2", 0.1), ("v2", 0.1), ("g2", 0.1 * (96 / 64) ** 0.5)):
        assert_orthogonal(att.get_parameter(name), gain)
    # 256 vocabulary entries over 64 channels: 0.5 sqrt 4.
    assert_orthogonal(model.head.weight, 1.0)
    assert_orthogonal(att.receptance.weight, 1.0)
    assert_orthogonal(att.value.weight, 1.0)
    assert_orthogonal(model.blocks[0].ffn.key.weight, 1.0)
    small = RWKV7(ModelConfig(vocab_size=16, num_layers=1, dim=64))
    initialize(small, seed=0)
    assert_orthogonal(small.head.weight, 0.5)


def assert_orthogonal(matrix: torch.Tensor, gain: float) -> None:
    """The shorter sides' inner products are gain^2 on the diagonal and 0 elsewhere."""
    narrow = matrix.detach().double()
    narrow = narrow if narrow.shape[0] <= narrow.shape[1] else narrow.T
    expected = gain**2 * torch.eye(len(narrow), dtype=torch.float64)
    torch.testing.assert_close(narrow @ narrow.T, expected, atol=1e-5, rtol=0)


def test_the_vectors_that_only_some_layers_have() -> None:
    model = RWKV7(CONFIG)
    initialize(model, seed=0)
    last = model.blocks[2].att
    assert last.v0[0, 0, 100].item() == pytest.approx(0.73 - 0.4 * (100 / 127 - 0.5), rel=1e-5)
    assert last.k_k[0, 0, 0].item() == pytest.approx(0.71 + 0.1 * 0.5, rel=1e-5)
    # In the last of three layers a third of the slope is left.
    assert last.x_r[0, 0, 64].item() == pytest.approx(1 - 0.5 ** (0.2 / 3), rel=1e-5)
    assert last.x_w[0, 0, 64].item() == pytest.approx(1 - 0.5 ** (0.9 / 3), rel=1e-5)
    assert torch.equal(last.x_g, last.x_r)
    assert torch.equal(last.x_a, last.x_w)
    assert torch.equal(last.x_v, last.x_k)


def test_a_model_of_one_layer_is_initialized() -> None:
    model = RWKV7(ModelConfig(vocab_size=5, num_layers=1, dim=64))
    initialize(model, seed=0)
    assert all(value.isfinite().all() for value in model.parameters())


def test_the_seed_determines_the_weights_without_the_global_generator() -> None:
    first, second, other = RWKV7(CONFIG), RWKV7(CONFIG), RWKV7(CONFIG)
    before = torch.random.get_rng_state()
    initialize(first, seed=5)
    initialize(second, seed=5)
    initialize(other, seed=6)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
