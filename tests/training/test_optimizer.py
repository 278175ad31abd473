"""AdamW's parameter groups: who decays, who learns twice as fast, and that nobody is left out."""

import math

import pytest
import torch

from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.training.optimizer import make_optimizer, parameter_groups

CONFIG = ModelConfig(vocab_size=23, num_layers=3, width=128)
IDS = torch.randint(23, (2, 70), generator=torch.Generator().manual_seed(3))


def initialized() -> RWKV7:
    model = RWKV7(CONFIG)
    initialize(model, seed=0)
    return model


def values(model: RWKV7) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def test_the_groups_hold_every_parameter_once_and_treat_it_as_prescribed() -> None:
    model = initialized()
    names = {id(value): name for name, value in model.named_parameters()}
    groups = parameter_groups(model, weight_decay=0.1)
    found = {
        names[id(value)]: (group["weight_decay"], group["lr_scale"])
        for group in groups
        for value in group["params"]
    }
    assert sorted(found) == sorted(names.values())
    assert sum(len(group["params"]) for group in groups) == len(names)
    matrices = {"emb", "head", "receptance", "key", "value", "output"}
    for name, treatment in found.items():
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


def test_the_second_step_weighs_the_past_as_prescribed() -> None:
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
