"""LayerNorm and RWKV's token shift: every token mixed with the one before it, in several shares.

On a CPU one native pass does both for all shares; elsewhere PyTorch does it step by step, which is
also the truth the native pass is compared with.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from jaxtyping import Bool, Float
from torch import Tensor

from rwkv_music.ops.backends import HEAD_SIZE, choose_backend
from rwkv_music.ops.token_shift.native import token_shift_native

__all__ = ["LAYER_NORM_EPS", "token_shift"]

LAYER_NORM_EPS = 1e-5


def token_shift(
    x: Float[Tensor, "B T C"],
    weight: Float[Tensor, " C"],
    bias: Float[Tensor, " C"],
    mixes: Sequence[Float[Tensor, " C"]],
    before: Float[Tensor, "B C"],
    resets: Bool[Tensor, "B T"] | None = None,
) -> tuple[list[Float[Tensor, "B T C"]], Float[Tensor, "B C"]]:
    """With n = layer_norm(x), the tensors n_t + (n_{t-1} - n_t) mix for each of `mixes`.

    Args:
        x: Hidden states.
        weight: Of the LayerNorm.
        bias: Of the LayerNorm.
        mixes: Shares of the token before, per channel: at most 6.
        before: n of the token before the first one; zeros where nothing came before.
        resets: True where a sequence begins anew: nothing came before that token.

    Returns:
        One tensor per mix, under autocast in its dtype; and n of the last token, to go on from.
    """
    if choose_backend(x, HEAD_SIZE) == "native" and x.shape[-1] % HEAD_SIZE == 0:
        return token_shift_native(x, weight, bias, mixes, before, resets)
    normed = F.layer_norm(x, weight.shape, weight, bias, LAYER_NORM_EPS)
    previous = torch.cat([before.to(normed.dtype).unsqueeze(1), normed[:, :-1]], dim=1)
    if resets is not None:
        previous = previous * (~resets).unsqueeze(-1)
    change = previous - normed
    return [normed + change * mix for mix in mixes], normed[:, -1]
