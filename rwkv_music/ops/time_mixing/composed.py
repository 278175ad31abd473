"""Time mixing between its matrix products, in PyTorch: the truth of the native pass.

Source: Peng et al., "RWKV-7 'Goose' with Expressive Dynamic State Evolution", arXiv:2503.14456.
B sequences, T tokens, C = H N channels in H heads of N.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from jaxtyping import Bool, Float
from torch import Tensor

from rwkv_music.ops.backends import choose_backend
from rwkv_music.ops.time_mixing.native import mix_heads_native
from rwkv_music.ops.wkv7 import wkv7

GROUP_NORM_EPS = 64e-5
NORMALISE_EPS = 1e-12

Hidden = Float[Tensor, "B T C"]


@dataclass(frozen=True)
class HeadParameters:
    """The learned vectors of time mixing that act on each channel by itself, [C] each."""

    w0: Tensor
    """Added to the decay logit."""
    a0: Tensor
    """Added to the rate's logit."""
    v0: Tensor | None
    """Added to the logit of the first layer's share in the value; None in the first layer."""
    k_k: Tensor
    """Scales the key before it is normalised to the removal key."""
    k_a: Tensor
    """How far the rate scales the key that is written."""
    r_k: Tensor
    """Weight of the bonus for the token itself."""
    norm_weight: Tensor
    norm_bias: Tensor

    def by_head(self, num_heads: int) -> Float[Tensor, "H 8 N"]:
        """All of them in one tensor, in the order above; zeros where there is no v0."""
        v0 = torch.zeros_like(self.w0) if self.v0 is None else self.v0
        vectors = (
            self.w0, self.a0, v0, self.k_k, self.k_a, self.r_k, self.norm_weight, self.norm_bias
        )  # fmt: skip
        return torch.stack([each.view(num_heads, -1) for each in vectors], dim=1)


class Mixed(NamedTuple):
    """What the matrix products of time mixing hand over, [B, T, C] each."""

    r: Tensor
    decay: Tensor
    """Of the decay logit, without its bias w0."""
    k: Tensor
    v: Tensor
    rate: Tensor
    """Of the in-context learning rate's logit, without a0."""
    gate: Tensor
    share: Tensor | None
    """Of the logit of the first layer's share in the value, without v0; None in the first layer."""
    value_first: Tensor | None
    """The first layer's value; None in the first layer."""


def mix_heads(
    mixed: Mixed,
    parameters: HeadParameters,
    state: Float[Tensor, "B H N N"],
    resets: Bool[Tensor, "B T"] | None = None,
) -> tuple[Hidden, Float[Tensor, "B H N N"]]:
    """What the output projection reads, and the state after the last token.

    Args:
        mixed: From the matrix products.
        parameters: Of the layer.
        state: [batch, head, value, key] before the first token, float32 (or float64).
        resets: True where a sequence begins anew.
    """
    if choose_backend(mixed.r, state.shape[-1]) == "native":
        return mix_heads_native(*mixed, parameters.by_head(state.shape[1]), state, resets)
    return _composed(mixed, parameters, state, resets)


def _composed(
    mixed: Mixed, p: HeadParameters, state: Tensor, resets: Tensor | None
) -> tuple[Tensor, Tensor]:
    heads = state.shape[1:3]
    v = mixed.v
    if p.v0 is not None and mixed.share is not None and mixed.value_first is not None:
        v = v + (mixed.value_first - v) * torch.sigmoid(p.v0 + mixed.share)
    rate = torch.sigmoid(p.a0 + mixed.rate)
    removal = F.normalize((mixed.k * p.k_k).unflatten(-1, heads), dim=-1, eps=NORMALISE_EPS)
    k = mixed.k * (1 + (rate - 1) * p.k_a)
    # The recurrence runs in the precision of its state, also under autocast.
    r, decay_logit, k, v, rate = (
        each.unflatten(-1, heads).to(state.dtype)
        for each in (mixed.r, p.w0 + mixed.decay, k, v, rate)
    )
    removal = removal.to(state.dtype)
    y, after = wkv7(r, decay_logit, k, v, -removal, removal * rate, state, resets=resets)
    bonus = (r * k * p.r_k.view(heads)).sum(-1, keepdim=True) * v
    normed = F.group_norm(
        y.flatten(0, 1).flatten(1), heads[0], p.norm_weight, p.norm_bias, GROUP_NORM_EPS
    )
    return (normed.view_as(mixed.r) + bonus.flatten(2)) * mixed.gate, after
