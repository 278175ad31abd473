"""RWKV-7's time mixing between its matrix products, in one native kernel.

The formula is in `rwkv_music.model.rwkv7.TimeMixing`. The kernel makes one pass over each head,
which halves a training step on a CPU.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rwkv_music.ops.time_mixing.native_time_mixing import mix_heads_native

__all__ = ["HeadParameters", "TimeMixingInputs", "mix_heads"]

Hidden = Float[Tensor, "B T C"]


@dataclass(frozen=True)
class HeadParameters:
    """The learned per-channel vectors of time mixing, [C] each."""

    w0: Tensor
    """Added to the decay logit."""
    a0: Tensor
    """Added to the rate's logit."""
    v0: Tensor | None
    """Added to the logit of the value residual; None in the first layer."""
    k_k: Tensor
    """Scales the key before it is normalized to the removal key."""
    k_a: Tensor
    """How far the rate scales the replacement key."""
    r_k: Tensor
    """Weight of the bonus for the token itself."""
    norm_weight: Tensor
    norm_bias: Tensor

    def by_head(self, num_heads: int) -> Float[Tensor, "H 8 N"]:
        """Return all of them in one tensor, in the order above; zeros where there is no v0."""
        v0 = torch.zeros_like(self.w0) if self.v0 is None else self.v0
        vectors = (
            self.w0, self.a0, v0, self.k_k, self.k_a, self.r_k, self.norm_weight, self.norm_bias
        )  # fmt: skip
        return torch.stack([vector.view(num_heads, -1) for vector in vectors], dim=1)


class TimeMixingInputs(NamedTuple):
    """Results of time mixing's matrix products, [B, T, C] each."""

    r: Tensor
    decay: Tensor
    """Decay logit without its bias w0."""
    k: Tensor
    v: Tensor
    rate: Tensor
    """Logit of the in-context learning rate, without a0."""
    gate: Tensor
    residual: Tensor | None
    """Logit of the value residual, without v0; None in the first layer."""
    value_first: Tensor | None
    """The first layer's value; None in the first layer."""


def mix_heads(
    inputs: TimeMixingInputs,
    parameters: HeadParameters,
    state: Float[Tensor, "B H N N"],
    resets: Bool[Tensor, "B T"] | None = None,
) -> tuple[Hidden, Float[Tensor, "B H N N"]]:
    """Return the input of the output projection, and the state after the last token.

    Args:
        inputs: Results of the matrix products.
        parameters: Learned vectors of the layer.
        state: [batch, head, value, key] before the first token, float32 (or float64).
        resets: True at the first token of a new sequence.

    Raises:
        InputError: If a shape does not match.
    """
    return mix_heads_native(*inputs, parameters.by_head(state.shape[1]), state, resets)
