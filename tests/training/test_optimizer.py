"""AdamW's parameter groups: who decays, who learns twice as fast, and that nobody is left out."""

import copy
import math

import pytest
import torch

from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.training.optimizer import (
    OPTIMIZERS,
    allocate_moments,
    make_optimizer,
    parameter_groups,
)

CONFIG = ModelConfig(vocab_size=23, num_layers=3, dim=128)
IDS = torch.randint(23, (2, 70), generator=torch.Generator().manual_seed(3))


def initialized() -> RWKV7:
    model = RWKV7(CONFIG)
    initialize(model, seed=0)
    return model


def values(model: RWKV7) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def test_parameter_groups_hold_every_parameter_once() -> None:
    model = initialized()
    names = {id(value): name for name, value in model.named_parameters()}
    groups = parameter_groups(model, weight_decay=0.1)
    actual = {
        names[id(value)]: (group["weight_decay"], group["lr_scale"])
        for group in groups
        for value in group["params"]
    }
    assert sorted(actual) == sorted(names.values())
    assert sum(len(group["params"]) for group in groups) == len(names)
    matrices = {"emb", "head", "receptance", "key", "value", "output"}
    for name, treatment in actual.items():
        is_matrix = name.endswith(".weight") and name.split(".")[-2] in matrices
        expected = (0.0, 2.0) if name.endswith("att.w0") else (0.1 if is_matrix else 0.0, 1.0)
        assert treatment == expected, name


def test_the_first_step_is_the_learning_rate_and_twice_that_for_the_decay() -> None:
    # AdamW's first step is lr * sign(gradient), whatever the gradient's size, as eps is next to
    # nothing: even 1e-12 moves a parameter by a whole step.
    model = initialized()
    before = values(model)
    optimizer = make_optimizer(model, learning_rate=0.01, weight_decay=0.0)
    for value in model.parameters():
        value.grad = torch.full_like(value, 1e-12)
    optimizer.step()
    for name, value in model.named_parameters():
        step = 0.02 if name.endswith("att.w0") else 0.01
        torch.testing.assert_close(value.detach(), before[name] - step, rtol=0, atol=2e-6, msg=name)


def test_only_matrices_shrink_where_there_is_no_gradient() -> None:
    model = initialized()
    before = values(model)
    optimizer = make_optimizer(model, learning_rate=0.01, weight_decay=0.5)
    for value in model.parameters():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    for name in ("head.weight", "emb.weight", "blocks.1.att.key.weight", "blocks.2.ffn.key.weight"):
        torch.testing.assert_close(
            model.get_parameter(name).detach(), before[name] * (1 - 0.01 * 0.5)
        )
    for name in ("blocks.1.att.w0", "blocks.1.att.w2", "blocks.1.att.r_k", "ln_out.weight"):
        assert torch.equal(model.get_parameter(name), before[name]), name


def test_the_second_step_uses_the_betas() -> None:
    # Gradients 1 and then 0: the means are (1 - b1) b1 and (1 - b2) b2 over 1 - b1^2 and 1 - b2^2.
    model = initialized()
    optimizer = make_optimizer(model, learning_rate=0.01, weight_decay=0.0)
    bias = model.ln_out.bias
    for gradient in (1.0, 0.0):
        for value in model.parameters():
            value.grad = torch.full_like(value, gradient)
        optimizer.step()
    mean, square = 0.1 * 0.9 / (1 - 0.9**2), 0.01 * 0.99 / (1 - 0.99**2)
    expected = -0.01 - 0.01 * mean / math.sqrt(square)
    assert bias[0].item() == pytest.approx(expected, rel=1e-5)


def test_from_the_official_init_every_parameter_has_moved_after_three_steps() -> None:
    model = initialized()
    start = values(model)
    optimizer = make_optimizer(model, learning_rate=1e-3, weight_decay=0.0)
    for _ in range(3):
        logits, _ = model(IDS)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten()
        ).backward()
        optimizer.step()
    unmoved = [name for name, value in model.named_parameters() if torch.equal(value, start[name])]
    assert unmoved == []


def test_adafactor_keeps_a_row_and_a_column_for_a_matrix() -> None:
    model = initialized()
    optimizer = make_optimizer(model, learning_rate=0.01, weight_decay=0.0, kind="adafactor")
    for value in model.parameters():
        value.grad = torch.ones_like(value)
    optimizer.step()
    kept = optimizer.state[model.head.weight]
    assert sum(tensor.numel() for tensor in kept.values()) == 23 + 128 + 1
    total = sum(tensor.numel() for state in optimizer.state.values() for tensor in state.values())
    assert total < 0.1 * sum(value.numel() for value in model.parameters())


def test_adafactor_moves_parameters_that_start_at_zero_by_the_learning_rate() -> None:
    # A gradient alike everywhere is divided by its own size; at step 1 the bound is the rate.
    model = initialized()
    before = values(model)
    optimizer = make_optimizer(model, learning_rate=0.01, weight_decay=0.0, kind="adafactor")
    for value in model.parameters():
        value.grad = torch.full_like(value, 1e-3)
    optimizer.step()
    name = "blocks.1.att.output.weight"
    assert not before[name].any()
    moved = model.get_parameter(name).detach()
    torch.testing.assert_close(moved, torch.full_like(moved, -0.01), rtol=1e-4, atol=0)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_optimizer_resumes_exactly_from_its_state(kind: str) -> None:
    def steps(model: RWKV7, optimizer: torch.optim.Optimizer, numbers: range) -> None:
        for index in numbers:
            generator = torch.Generator().manual_seed(index)
            for value in model.parameters():
                value.grad = torch.randn(value.shape, generator=generator)
            optimizer.step()

    def fresh(model: RWKV7) -> torch.optim.Optimizer:
        return make_optimizer(model, learning_rate=0.01, weight_decay=0.1, kind=kind)

    through = initialized()
    steps(through, fresh(through), range(4))
    first = initialized()
    optimizer = fresh(first)
    steps(first, optimizer, range(2))
    second = initialized()
    second.load_state_dict(first.state_dict())
    resumed = fresh(second)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(second, resumed, range(2, 4))
    for name, value in through.named_parameters():
        assert torch.equal(second.get_parameter(name), value), name


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_allocating_moments_early_changes_no_number(kind: str) -> None:
    def trained(*, ahead: bool) -> tuple[RWKV7, torch.optim.Optimizer]:
        model = initialized()
        model.emb.weight.requires_grad_(requires_grad=False)
        optimizer = make_optimizer(model, learning_rate=0.01, weight_decay=0.1, kind=kind)
        if ahead:
            before = values(model)
            allocate_moments(optimizer)
            assert all(
                torch.equal(parameter, before[name]) for name, parameter in model.named_parameters()
            )
            assert all(parameter.grad is None for parameter in model.parameters())
        for index in range(3):
            generator = torch.Generator().manual_seed(index)
            for value in model.parameters():
                if value.requires_grad:
                    value.grad = torch.randn(value.shape, generator=generator)
            optimizer.step()
        return model, optimizer

    (first, plain), (second, made) = trained(ahead=False), trained(ahead=True)
    for name, value in first.named_parameters():
        assert torch.equal(second.get_parameter(name), value), name
    torch.testing.assert_close(made.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_all_moments_are_allocated_before_the_first_step() -> None:
    model = initialized()
    model.emb.weight.requires_grad_(requires_grad=False)
    optimizer = make_optimizer(model, learning_rate=0.01, weight_decay=0.1)
    allocate_moments(optimizer)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert set(optimizer.state) == set(trained)
    assert all(
        optimizer.state[parameter]["exp_avg_sq"].shape == parameter.shape for parameter in trained
    )


def test_an_unknown_optimizer_is_refused() -> None:
    with pytest.raises(InputError, match=r"optimizer must be one of .* got 'sgd'"):
        make_optimizer(initialized(), learning_rate=0.01, weight_decay=0.0, kind="sgd")
