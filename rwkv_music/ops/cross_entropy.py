"""Cross entropy over the scored positions alone.

The completion mask picks both the hidden states that reach the head and the targets they are
compared with; it is the same tensor for both. A position that is not scored costs nothing: its
logits are never computed.
"""

import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rwkv_music.errors import InputError


def completion_nats(
    hidden: Float[Tensor, "B T C"],
    head_weight: Float[Tensor, "V C"],
    targets: Int[Tensor, "B T"],
    completion_mask: Bool[Tensor, "B T"],
) -> Float[Tensor, " scored"]:
    """-ln p of every scored target, in reading order.

    Args:
        hidden: The model's output before the head.
        head_weight: Rows are vocabulary entries; logits are `hidden @ head_weight.T`.
        targets: The token that did come after each position.
        completion_mask: True where the target counts.

    Returns:
        Nats in float32 (float64 for float64 inputs), one per True in the mask; empty if there is
        none.
    """
    logits = F.linear(hidden[completion_mask], head_weight)
    if logits.dtype.itemsize < 4:
        logits = logits.float()
    return F.cross_entropy(logits, targets[completion_mask], reduction="none")


def completion_loss(
    hidden: Float[Tensor, "B T C"],
    head_weight: Float[Tensor, "V C"],
    targets: Int[Tensor, "B T"],
    completion_mask: Bool[Tensor, "B T"],
) -> Float[Tensor, ""]:
    """Mean nats per completion token; its exponential is the perplexity.

    Takes what `completion_nats` takes.

    Raises:
        InputError: If the mask marks no token, since the mean is then undefined.
    """
    nats = completion_nats(hidden, head_weight, targets, completion_mask)
    if not nats.numel():
        raise InputError(
            f"completion_mask marks none of the {completion_mask.numel()} positions of this batch; "
            "give each window at least one completion bar"
        )
    return nats.mean()
