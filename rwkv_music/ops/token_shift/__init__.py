"""LayerNorm and RWKV's token shift in one native kernel, for several mixes at once.

The formula is `rwkv_music.model.rwkv7.token_shift`.
"""

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from rwkv_music.ops.token_shift.native_token_shift import token_shift_native

__all__ = ["token_shift"]


def token_shift(
    x: Float[Tensor, "B T C"],
    weight: Float[Tensor, " C"],
    bias: Float[Tensor, " C"],
    mixes: Sequence[Float[Tensor, " C"]],
    before: Float[Tensor, "B C"],
    resets: Bool[Tensor, "B T"] | None = None,
) -> tuple[list[Float[Tensor, "B T C"]], Float[Tensor, "B C"]]:
    """With n = layer_norm(x), return n_t + (n_{t-1} - n_t) mix for each of `mixes`.

    Args:
        x: Hidden states.
        weight: Weight of the LayerNorm.
        bias: Bias of the LayerNorm.
        mixes: Interpolation weights of the previous token, per channel: at most 6.
        before: n of the token before the first one; zeros at the beginning of a sequence.
        resets: True at the first token of a new sequence, which has no previous token.

    Returns:
        One tensor per mix, under autocast in its dtype; and n of the last token.

    Raises:
        InputError: If a shape does not match, or there are more than 6 mixes.
    """
    return token_shift_native(x, weight, bias, mixes, before, resets)
