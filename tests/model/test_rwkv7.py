"""The model, on parameters that are all random: the official init would make most tests empty."""

import pytest
import torch

from rwkv_music.model import RWKV7, ModelConfig, ModelState, initialize

CONFIG = ModelConfig(vocab_size=23, num_layers=3, dim=128)
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


def test_a_sequence_in_two_pieces_equals_the_whole() -> None:
    model = perturbed()
    whole, final = model(IDS)
    first, between = model(IDS[:, :29])
    second, last = model(IDS[:, 29:], between)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    for actual, expected in zip(last.layers, final.layers, strict=True):
        torch.testing.assert_close(actual.wkv, expected.wkv)
        torch.testing.assert_close(actual.time_shift, expected.time_shift)
        torch.testing.assert_close(actual.channel_shift, expected.channel_shift)


def test_recurrent_steps_equal_the_parallel_forward() -> None:
    model = perturbed()
    expected, _ = model(IDS)
    state = ModelState.zeros(CONFIG, 2, dtype=torch.float64)
    for index in range(IDS.shape[1]):
        logits, state = model.step(IDS[:, index], state)
        torch.testing.assert_close(logits, expected[:, index])


def test_later_tokens_do_not_change_earlier_logits() -> None:
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


def test_rows_of_a_state_can_be_repeated_and_dropped() -> None:
    model = perturbed()
    _, state = model(IDS)
    chosen = state.select([1, 1, 0])
    logits, _ = model.step(torch.tensor([4, 4, 4]), chosen)
    torch.testing.assert_close(logits[0], logits[1])
    alone, _ = model.step(torch.tensor([4]), state.select([0]))
    torch.testing.assert_close(logits[2:], alone)
    assert chosen.num_values * 2 == state.num_values * 3


def test_dropout_applies_to_both_mixings_in_training_only() -> None:
    model = perturbed(ModelConfig(vocab_size=23, num_layers=1, dim=128, dropout=0.5))
    torch.testing.assert_close(model(IDS)[0], perturbed(model_without_dropout(model))(IDS)[0])
    seen: list[torch.Tensor] = []
    model.blocks[0].dropout.register_forward_hook(lambda _, __, output: seen.append(output))
    model.train()
    torch.manual_seed(0)
    model(IDS)
    assert len(seen) == 2
    for dropped in seen:
        assert (dropped == 0).double().mean().item() == pytest.approx(0.5, abs=0.02)


def model_without_dropout(model: RWKV7) -> ModelConfig:
    return ModelConfig.from_dict({**model.config.to_dict(), "dropout": 0.0})


def test_bfloat16_products_stay_close_and_keep_the_state_in_float32() -> None:
    model = perturbed().float()
    exact, _ = model(IDS)
    with torch.autocast("cpu", torch.bfloat16):
        logits, state = model(IDS)
    assert all(layer.wkv.dtype == torch.float32 for layer in state.layers)
    error = (logits.float() - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert error.item() < 0.05


def test_a_state_made_by_chunks_of_any_length_is_the_same() -> None:
    model = perturbed()
    _, whole = model(IDS)
    state = None
    for piece in IDS.split([1, 2, 31, 32, 4], dim=1):
        _, state = model(piece, state)
    assert state is not None
    for actual, expected in zip(state.layers, whole.layers, strict=True):
        torch.testing.assert_close(actual.wkv, expected.wkv)


def test_gradients_flow_through_the_state() -> None:
    model = perturbed()
    empty = ModelState.zeros(CONFIG, 2, dtype=torch.float64)
    for layer in empty.layers:
        layer.wkv.requires_grad_()
    logits, _ = model(IDS, empty)
    logits[:, -1].sum().backward()
    for layer in empty.layers:
        assert layer.wkv.grad is not None
        assert layer.wkv.grad.abs().max() > 0
