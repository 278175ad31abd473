"""The model, on parameters that are all random: the official init would make most tests empty."""

import torch

from rwkv_music.model import RWKV7, ModelConfig, ModelState, initialize

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


def test_states_can_be_repeated_and_dropped() -> None:
    model = perturbed()
    _, state = model(IDS)
    chosen = state.select([1, 1, 0])
    logits, _ = model.step(torch.tensor([4, 4, 4]), chosen)
    torch.testing.assert_close(logits[0], logits[1])
    alone, _ = model.step(torch.tensor([4]), state.select([0]))
    torch.testing.assert_close(logits[2:], alone)
    assert chosen.num_values * 2 == state.num_values * 3
