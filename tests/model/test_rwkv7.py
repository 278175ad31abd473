"""The model, on parameters that are all random: the official init would make most tests empty."""

import math

import pytest
import torch

from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelConfig, ModelState, initialize
from rwkv_music.training.optimizer import make_optimizer, parameter_groups

CONFIG = ModelConfig(vocab_size=23, num_layers=3, width=128)
IDS = torch.randint(23, (2, 70), generator=torch.Generator().manual_seed(3))


def perturbed(config: ModelConfig = CONFIG) -> RWKV7:
    """A model in float64 none of whose parameters is zero or special."""
    model = RWKV7(config).double()
    initialize(model, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn(value.shape, generator=generator, dtype=value.dtype), alpha=0.1)
    return model.eval()


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
    for layers, width in ((1, 64), (3, 128), (4, 192)):
        config = ModelConfig(vocab_size=23, num_layers=layers, width=width)
        ranks = config.decay_width + config.rate_width + config.value_width + config.gate_width
        # The formula counts v0, v1, v2 in every layer; ours has none in the first.
        first = width * (1 + 2 * config.value_width)
        expected = 2 * 23 * width + 4 * width - first
        expected += layers * (19 * width + 12 * width**2 + 2 * width * ranks)
        counted = sum(each.numel() for each in RWKV7(config).parameters())
        assert counted == expected


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


def test_a_sequence_in_two_pieces_equals_the_whole() -> None:
    model = perturbed()
    whole, final = model(IDS)
    first, between = model(IDS[:, :29])
    second, last = model(IDS[:, 29:], between)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    for found, expected in zip(last.layers, final.layers, strict=True):
        torch.testing.assert_close(found.wkv, expected.wkv)
        torch.testing.assert_close(found.time_shift, expected.time_shift)
        torch.testing.assert_close(found.channel_shift, expected.channel_shift)


def test_recurrent_steps_equal_the_parallel_forward() -> None:
    model = perturbed()
    expected, _ = model(IDS)
    state = ModelState.zeros(CONFIG, 2, dtype=torch.float64)
    for place in range(IDS.shape[1]):
        logits, state = model.step(IDS[:, place], state)
        torch.testing.assert_close(logits, expected[:, place])


def test_the_future_never_reaches_the_past() -> None:
    model = perturbed()
    before, _ = model(IDS)
    changed = IDS.clone()
    changed[:, 40:] = (changed[:, 40:] + 1) % 23
    after, _ = model(changed)
    torch.testing.assert_close(after[:, :40], before[:, :40], rtol=0, atol=1e-12)
    assert not torch.equal(after[:, 40:], before[:, 40:])


def test_an_early_token_changes_a_late_logit() -> None:
    model = perturbed()
    changed = IDS.clone()
    changed[:, 0] = (changed[:, 0] + 1) % 23
    difference = (model(changed)[0][:, -1] - model(IDS)[0][:, -1]).abs().max()
    assert difference > 1e-9


def test_sequences_of_a_batch_do_not_mix() -> None:
    model = perturbed()
    torch.testing.assert_close(model(IDS)[0][1:], model(IDS[1:])[0])


def test_every_parameter_gets_a_gradient() -> None:
    model = perturbed()
    logits, _ = model(IDS)
    torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten()).backward()
    for name, value in model.named_parameters():
        assert value.grad is not None, name
        assert value.grad.abs().max() > 0, name


def test_from_the_official_init_every_parameter_has_moved_after_three_steps() -> None:
    model = RWKV7(CONFIG)
    initialize(model, seed=0)
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = make_optimizer(model, learning_rate=1e-3, weight_decay=0.1)
    for _ in range(3):
        logits, _ = model(IDS)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten()
        ).backward()
        optimizer.step()
    unmoved = [name for name, value in model.named_parameters() if torch.equal(value, start[name])]
    assert unmoved == []


def test_the_groups_hold_every_parameter_once_and_treat_it_as_prescribed() -> None:
    model = RWKV7(CONFIG)
    names = {id(value): name for name, value in model.named_parameters()}
    groups = parameter_groups(model, weight_decay=0.1)
    found = {
        names[id(value)]: (group["weight_decay"], group["lr_scale"])
        for group in groups
        for value in group["params"]
    }
    assert sorted(found) == sorted(names.values())
    assert sum(len(group["params"]) for group in groups) == len(names)
    assert found["blocks.2.att.w0"] == (0.0, 2.0)
    for decayed in ("emb", "head", "blocks.0.att.key", "blocks.1.ffn.value"):
        assert found[f"{decayed}.weight"] == (0.1, 1.0)
    for plain in ("ln_out.weight", "blocks.0.att.x_r", "blocks.1.att.w2", "blocks.1.att.r_k"):
        assert found[plain] == (0.0, 1.0)


def test_states_can_be_repeated_and_dropped() -> None:
    model = perturbed()
    _, state = model(IDS)
    chosen = state.select([1, 1, 0])
    logits, _ = model.step(torch.tensor([4, 4, 4]), chosen)
    torch.testing.assert_close(logits[0], logits[1])
    alone, _ = model.step(torch.tensor([4]), state.select([0]))
    torch.testing.assert_close(logits[2:], alone)
    assert chosen.num_values * 2 == state.num_values * 3


def test_the_seed_fixes_the_initial_weights_and_leaves_torch_alone() -> None:
    first, second, other = RWKV7(CONFIG), RWKV7(CONFIG), RWKV7(CONFIG)
    before = torch.random.get_rng_state()
    initialize(first, seed=5)
    initialize(second, seed=5)
    initialize(other, seed=6)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"width": 100}, "width must be a multiple of head_size=64, got 100"),
        ({"num_layers": 0}, "num_layers must be at least 1, got 0"),
        ({"dropout": 1.5}, r"dropout must be in \[0, 1\), got 1.5"),
    ],
)
def test_sizes_that_make_no_model_are_refused(sizes: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ModelConfig(**{"vocab_size": 5, "num_layers": 1, "width": 64, **sizes})
