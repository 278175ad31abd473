"""The whole model against its formulas, token by token and head by head, in NumPy.

Everything else the tests say of the model (steps equal chunks, no leak, gradients) would also hold
of a wrong formula. This is the formula once more, written without any code of the model.
"""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rwkv_music.model import RWKV7, ModelConfig

Array = NDArray[np.float64]
Weights = dict[str, Array]
HEAD = 16
CONFIG = ModelConfig(vocab_size=7, num_layers=2, dim=2 * HEAD, head_size=HEAD)
IDS = [3, 1, 4, 1, 5, 0, 2, 6]


def random_model(seed: int) -> RWKV7:
    model = RWKV7(CONFIG).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(torch.randn(value.shape, generator=generator, dtype=value.dtype) * 0.5)
    return model


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def normalised(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    return (x - x.mean()) / np.sqrt(x.var() + eps) * weight + bias


def layer_norm(x: Array, w: Weights, name: str) -> Array:
    return normalised(x, w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)


def recurrence(
    state: Array, r: Array, decay: Array, k: Array, v: Array, kk: Array, a: Array
) -> tuple[Array, Array]:
    """One head, one token; state[i, j] belongs to value i and key j."""
    after = np.zeros_like(state)
    for i in range(HEAD):
        removed = sum(state[i, j] * -kk[j] for j in range(HEAD))
        for j in range(HEAD):
            after[i, j] = state[i, j] * decay[j] + removed * kk[j] * a[j] + v[i] * k[j]
    return after @ r, after


def time_mixing(
    w: Weights, x: Array, before: Array, v_first: Array | None, states: list[Array]
) -> tuple[Array, Array]:
    """One token; `states` holds one matrix a head and is changed in place."""
    mixed = {name: x + (before - x) * w[f"x_{name}"].ravel() for name in "rwkvag"}
    r = w["receptance.weight"] @ mixed["r"]
    k = w["key.weight"] @ mixed["k"]
    v = w["value.weight"] @ mixed["v"]
    logit = w["w0"].ravel() + np.tanh(mixed["w"] @ w["w1"]) @ w["w2"]
    decay = np.exp(-math.exp(-0.5) * sigmoid(logit))
    if v_first is None:
        v_first = v
    else:
        v = v + (v_first - v) * sigmoid(w["v0"].ravel() + mixed["v"] @ w["v1"] @ w["v2"])
    a = sigmoid(w["a0"].ravel() + mixed["a"] @ w["a1"] @ w["a2"])
    g = sigmoid(mixed["g"] @ w["g1"]) @ w["g2"]
    kk = k * w["k_k"].ravel()
    k = k * (1 + (a - 1) * w["k_a"].ravel())

    output = np.zeros_like(x)
    for head in range(len(states)):
        own = slice(head * HEAD, (head + 1) * HEAD)
        unit = kk[own] / max(math.sqrt((kk[own] ** 2).sum()), 1e-12)
        y, states[head] = recurrence(states[head], r[own], decay[own], k[own], v[own], unit, a[own])
        y = normalised(y, w["ln_x.weight"][own], w["ln_x.bias"][own], 64e-5)
        output[own] = y + (r[own] * k[own] * w["r_k"][head]).sum() * v[own]
    return w["output.weight"] @ (output * g), v_first


def expected_logits(w: Weights) -> Array:
    heads = CONFIG.dim // HEAD
    nothing = np.zeros(CONFIG.dim)
    states = [[np.zeros((HEAD, HEAD)) for _ in range(heads)] for _ in range(CONFIG.num_layers)]
    before = {
        (layer, part): nothing for layer in range(CONFIG.num_layers) for part in ("att", "ffn")
    }
    rows = []
    for token in IDS:
        x, v_first = layer_norm(w["emb.weight"][token], w, "blocks.0.ln0"), None
        for layer in range(CONFIG.num_layers):
            block = f"blocks.{layer}"
            att = {
                name.removeprefix(f"{block}.att."): value
                for name, value in w.items()
                if name.startswith(f"{block}.att.")
            }
            now = layer_norm(x, w, f"{block}.ln1")
            mixed, v_first = time_mixing(att, now, before[layer, "att"], v_first, states[layer])
            x, before[layer, "att"] = x + mixed, now
            now = layer_norm(x, w, f"{block}.ln2")
            shifted = now + (before[layer, "ffn"] - now) * w[f"{block}.ffn.x_k"].ravel()
            hidden = np.maximum(w[f"{block}.ffn.key.weight"] @ shifted, 0) ** 2
            x, before[layer, "ffn"] = x + w[f"{block}.ffn.value.weight"] @ hidden, now
        rows.append(w["head.weight"] @ layer_norm(x, w, "ln_out"))
    return np.stack(rows)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_model_computes_its_formulas(seed: int) -> None:
    model = random_model(seed)
    weights = {name: value.detach().numpy() for name, value in model.named_parameters()}
    logits, _ = model(torch.tensor([IDS]))
    np.testing.assert_allclose(logits[0].detach().numpy(), expected_logits(weights), rtol=1e-9)


def test_a_key_of_zeros_is_normalized_to_zeros() -> None:
    model = random_model(2)
    with torch.no_grad():
        for block in model.blocks:
            block.get_parameter("att.k_k").zero_()
    weights = {name: value.detach().numpy() for name, value in model.named_parameters()}
    logits, _ = model(torch.tensor([IDS]))
    np.testing.assert_allclose(logits[0].detach().numpy(), expected_logits(weights), rtol=1e-9)
