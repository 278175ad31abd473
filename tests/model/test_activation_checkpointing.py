"""Gradient checkpointing: the same gradients, dropout included, and less in memory."""

import pytest
import torch
from torch import Tensor

from benchmarks.measuring import held_bytes
from rwkv_music.model import RWKV7, ModelConfig
from rwkv_music.ops.registry import BACKEND_VARIABLE
from rwkv_music.ops.wkv7 import available_backends
from tests.model.test_rwkv7 import perturbed

CONFIG = ModelConfig(vocab_size=23, num_layers=3, dim=64, dropout=0.3)
IDS = torch.randint(23, (2, 40), generator=torch.Generator().manual_seed(3))
RESETS = torch.zeros(2, 40, dtype=torch.bool)
RESETS[0, 17] = True


def loss_and_gradients(model: RWKV7, *, checkpointing: bool) -> list[Tensor]:
    model.activation_checkpointing = checkpointing
    torch.manual_seed(5)
    hidden, state = model.hidden(IDS, resets=RESETS)
    torch.rand(3)  # a step's other random choices do not disturb those that are repeated
    loss = hidden.square().sum() + sum(layer.wkv.sum() for layer in state.layers)
    parameters = [value for name, value in model.named_parameters() if name != "head.weight"]
    return [loss.detach(), torch.rand(1), *torch.autograd.grad(loss, parameters)]


@pytest.mark.parametrize("backend", available_backends())
def test_gradients_and_dropout_are_the_same_with_and_without_checkpointing(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BACKEND_VARIABLE, backend)
    model = perturbed(CONFIG).train()
    plain = loss_and_gradients(model, checkpointing=False)
    again = loss_and_gradients(model, checkpointing=True)
    assert len(plain) == len(again)
    for expected, actual in zip(plain, again, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


def test_layers_are_recomputed_in_the_same_precision_under_autocast() -> None:
    model = perturbed(CONFIG).float().train()
    with torch.autocast("cpu", torch.bfloat16):
        plain = loss_and_gradients(model, checkpointing=False)
        again = loss_and_gradients(model, checkpointing=True)
    for expected, actual in zip(plain, again, strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_a_layer_keeps_only_its_inputs_and_outputs() -> None:
    held = {}
    for layers in (2, 3):
        model = perturbed(ModelConfig(vocab_size=23, num_layers=layers, dim=64)).train()
        ids = torch.randint(23, (4, 512))
        for checkpointing in (False, True):
            model.activation_checkpointing = checkpointing
            held[checkpointing, layers] = held_bytes(lambda model=model, ids=ids: model.hidden(ids))
    if held[True, 2] is None:
        pytest.skip("this system's C library does not tell how much memory is in use")
    plain, again = (
        held[is_checkpointed, 3] - held[is_checkpointed, 2] for is_checkpointed in (False, True)
    )
    values = 8 * 4 * 512 * 64
    # The layer's output, and the final state, which is small; without it dozens of such tensors.
    assert again < 2 * values
    assert plain > 10 * values
