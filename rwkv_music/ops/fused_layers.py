"""RWKV-7's layers in fused native kernels, for the CPU.

The formulas are in `rwkv_music.model.rwkv7`; these functions compute the same in a third of the
time: one kernel for LayerNorm and token shift, one for all matrix products where the processor has
AMX, and one for everything between the products and the output projection.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rwkv_music.ops.backends import choose_backend
from rwkv_music.ops.products import MatrixProduct, products
from rwkv_music.ops.tensor_arguments import DTYPE_CODES
from rwkv_music.ops.time_mixing import HeadParameters, TimeMixingInputs, mix_heads
from rwkv_music.ops.token_shift import token_shift

__all__ = [
    "HeadParameters",
    "TimeMixingWeights",
    "fused_channel_mixing",
    "fused_time_mixing",
    "has_fused_layers",
]

Hidden = Float[Tensor, "B T C"]


LowRank = tuple[Float[Tensor, "C _"], Float[Tensor, "_ C"]]


@dataclass(frozen=True)
class TimeMixingWeights:
    """Parameters of a time mixing up to its output projection."""

    mixes: Sequence[Float[Tensor, "1 1 C"]]
    """Token shift of r, w, k, v, a and g."""
    receptance: nn.Module
    key: nn.Module
    value: nn.Module
    decay: LowRank
    rate: LowRank
    gate: LowRank
    value_residual: LowRank | None
    """None in layer 0."""
    vectors: HeadParameters


def has_fused_layers(x: Tensor, head_size: int) -> bool:
    """Return whether fused kernels can take a layer with inputs like `x`."""
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    return dtype in DTYPE_CODES and choose_backend(x, head_size) == "native"


def fused_time_mixing(
    x: Hidden,
    norm: nn.LayerNorm,
    weights: TimeMixingWeights,
    v_first: Hidden | None,
    before: Float[Tensor, "B C"],
    wkv: Float[Tensor, "B H N N"],
    resets: Bool[Tensor, "B T"] | None,
) -> tuple[Hidden, Hidden, Float[Tensor, "B C"], Float[Tensor, "B H N N"]]:
    """Compute time mixing up to its output projection.

    Args:
        x: The layer's input.
        norm: The LayerNorm in front of the layer.
        weights: Of the layer.
        v_first: Layer 0's value; None in layer 0.
        before: Normalized input of the token before the first one.
        wkv: The WKV state before the first token.
        resets: True at the first token of a new sequence.

    Returns:
        Input of the output projection, the layer's own value precursor, the last token's normalized
        input, and the WKV state after it.
    """
    mixes = [mix.flatten() for mix in weights.mixes]
    shift = partial(token_shift, x, norm.weight, norm.bias, mixes, before, resets)
    shifted, last = shift()
    x_r, x_w, x_k, x_v, x_a, x_g = shifted
    requests = [
        MatrixProduct(x_r, weights.receptance),
        MatrixProduct(x_k, weights.key),
        MatrixProduct(x_v, weights.value),
        _low_rank(x_w, weights.decay, "tanh"),
        _low_rank(x_a, weights.rate),
        _low_rank(x_g, weights.gate, "sigmoid"),
    ]
    if weights.value_residual is not None:
        requests.append(_low_rank(x_v, weights.value_residual))
    r, k, v, decay, rate, gate, *residual = products(requests, (shifted, lambda: shift()[0]))
    inputs = TimeMixingInputs(
        r, decay, k, v, rate, gate, residual[0] if residual else None, v_first
    )
    y, wkv = mix_heads(inputs, weights.vectors, wkv, resets)
    return y, v, last, wkv


def _low_rank(x: Hidden, matrices: LowRank, activation: str = "identity") -> MatrixProduct:
    first, second = matrices
    return MatrixProduct(x, first.t(), second.t(), activation)


def fused_channel_mixing(
    x: Hidden,
    norm: nn.LayerNorm,
    mix: Float[Tensor, "1 1 C"],
    key: nn.Module,
    value: nn.Module,
    before: Float[Tensor, "B C"],
    resets: Bool[Tensor, "B T"] | None,
) -> tuple[Hidden, Float[Tensor, "B C"]]:
    """Compute channel mixing: its outputs, and the last token's normalized input."""
    shift = partial(token_shift, x, norm.weight, norm.bias, [mix.flatten()], before, resets)
    shifted, last = shift()
    request = MatrixProduct(shifted[0], key, value, "squared_relu")
    [out] = products([request], (shifted, lambda: shift()[0]))
    return out, last
