"""The model's plain formulas with the arguments of the native kernels, to compare these with."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from rwkv_music.model import LayerState, rwkv7
from rwkv_music.ops.time_mixing import HeadParameters, TimeMixingInputs


class GivenNorm(nn.LayerNorm):
    """A LayerNorm with tensors for its weight and bias, which may have a history."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__(len(weight), eps=rwkv7.LAYER_NORM_EPS, elementwise_affine=False)
        self.given = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], *self.given, self.eps)


class GivenProduct:
    """Takes the place of a matrix on the right of `@`: the product is what was given."""

    def __init__(self, product: Tensor | None) -> None:
        self.product = product

    def __rmatmul__(self, x: Tensor) -> Tensor | None:
        return self.product


def plain_token_shift(
    x: Tensor, weight: Tensor, bias: Tensor, mixes: Sequence[Tensor], before: Tensor,
    resets: Tensor | None = None,
) -> tuple[list[Tensor], Tensor]:  # fmt: skip
    """What the native token shift computes, as the model writes it."""
    return rwkv7.token_shift(x, GivenNorm(weight, bias), mixes, before, resets)


def plain_mix_heads(
    mixed: TimeMixingInputs, parameters: HeadParameters, state: Tensor, resets: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What the native `mix_heads` computes: `TimeMixing.forward` with the products given."""
    some = torch.zeros_like(mixed.r)

    def constant(value: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda _: value

    def group_norm(y: Tensor) -> Tensor:
        weight, bias = parameters.norm_weight, parameters.norm_bias
        return F.group_norm(y, state.shape[1], weight, bias, rwkv7.GROUP_NORM_EPS)

    layer: Any = SimpleNamespace(
        config=SimpleNamespace(head_size=state.shape[-1]),
        mixes=lambda: (),
        receptance=constant(mixed.r),
        key=constant(mixed.k),
        value=constant(mixed.v),
        w0=parameters.w0,
        a0=parameters.a0,
        v0=parameters.v0,
        k_k=parameters.k_k,
        k_a=parameters.k_a,
        r_k=parameters.r_k.view(state.shape[1:3]),
        ln_x=group_norm,
        output=lambda y: y,
        **{f"{name}1": GivenProduct(some) for name in "wagv"},
        w2=GivenProduct(mixed.decay),
        a2=GivenProduct(mixed.rate),
        g2=GivenProduct(mixed.gate),
        v2=GivenProduct(mixed.residual),
    )
    shift = torch.zeros_like(some[:, 0])
    with (
        mock.patch.object(rwkv7, "has_fused_layers", return_value=False),
        mock.patch.object(rwkv7, "token_shift", return_value=([some] * 6, shift)),
    ):
        y, _, _, wkv = rwkv7.TimeMixing.forward(
            layer, some, nn.LayerNorm(1), mixed.value_first, LayerState(shift, state, shift), resets
        )
    return y, wkv
