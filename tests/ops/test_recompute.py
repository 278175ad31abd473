"""Tensors that the backward computes again: the same gradients, less memory, no second graph."""

import gc
import weakref

import pytest
import torch
from torch import Tensor

from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.ops import products
from rwkv_music.ops.recompute import recomputed

GENERATOR = torch.Generator().manual_seed(0)
WEIGHT = torch.randn(8, 5, generator=GENERATOR)


def doubled(x: Tensor) -> list[Tensor]:
    return [x * 2, x * 3]


def gradients(x: Tensor, weight: Tensor, *, again: bool) -> tuple[Tensor, ...]:
    tensors = doubled(x)
    if again:
        with recomputed(tensors, lambda: doubled(x)):
            result = tensors[0] @ weight + torch.tanh(tensors[1] @ weight)
    else:
        result = tensors[0] @ weight + torch.tanh(tensors[1] @ weight)
    return torch.autograd.grad(result.square().sum(), (x, weight))


def test_gradients_are_the_same_bit_for_bit() -> None:
    x = torch.randn(3, 4, 8, generator=GENERATOR, requires_grad=True)
    weight = WEIGHT.clone().requires_grad_()
    for kept, made in zip(
        gradients(x, weight, again=False), gradients(x, weight, again=True), strict=True
    ):
        assert torch.equal(kept, made)


def test_a_tensor_is_let_go_after_the_forward_and_made_once_in_the_backward() -> None:
    x = torch.randn(3, 8, generator=GENERATOR)
    weight = WEIGHT.clone().requires_grad_()
    made: list[int] = []

    def make() -> list[Tensor]:
        made.append(1)
        return doubled(x)

    tensors = doubled(x)
    watched = weakref.ref(tensors[0])
    with recomputed(tensors, make):
        result = tensors[0] @ weight + tensors[1] @ weight
    del tensors
    gc.collect()
    assert watched() is None
    assert made == []
    expected = (5 * x).T @ torch.ones(3, 5)
    for _ in range(2):  # the graph can be walked twice
        actual = torch.autograd.grad(result.sum(), weight, retain_graph=True)[0]
        torch.testing.assert_close(actual, expected)
    assert made == [1, 1]


def test_without_gradients_nothing_is_kept_or_made() -> None:
    with torch.no_grad(), recomputed([WEIGHT], lambda: pytest.fail("made without need")):
        assert (WEIGHT @ WEIGHT.T).shape == (8, 8)


def test_a_backward_outside_of_autocast_makes_what_the_forward_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "has_amx", lambda: False)  # they would keep it
    model = RWKV7(ModelConfig(vocab_size=11, num_layers=2, dim=64))
    initialize(model, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=GENERATOR), alpha=0.1)
    ids = torch.randint(11, (2, 9), generator=GENERATOR)

    def gradient(*, inside: bool) -> Tensor:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(ids)[0].float().square().mean()
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        actual = model.blocks[0].get_parameter("att.receptance.weight").grad
        assert actual is not None
        return actual

    assert torch.equal(gradient(inside=True), gradient(inside=False))
