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
    logits = _scored_logits(hidden, head_weight, completion_mask)
    return F.cross_entropy(logits, targets[completion_mask], reduction="none")


def completion_objective(
    hidden: Float[Tensor, "B T C"],
    head_weight: Float[Tensor, "V C"],
    targets: Int[Tensor, "B T"],
    completion_mask: Bool[Tensor, "B T"],
    *,
    label_smoothing: float = 0.0,
    logit_penalty: float = 0.0,
) -> tuple[Float[Tensor, " scored"], Float[Tensor, " scored"]]:
    """What training minimises the mean of, beside the nats it is judged by.

    Args:
        hidden: As in `completion_nats`, like the three that follow.
        head_weight: See there.
        targets: See there.
        completion_mask: See there.
        label_smoothing: Share of each target that is spread over the whole vocabulary.
        logit_penalty: Of L2Wrap: this times the largest logit is added to the gradient of that
            logit at every scored position, divided by what the objective is divided by. It holds
            the logits near zero and leaves the value of the objective as it is; 1e-4 is usual.

    Returns:
        The objective of every scored position, and its nats (without a gradient), both in float32
        (float64 for float64 inputs) and in reading order.
    """
    logits = _scored_logits(hidden, head_weight, completion_mask)
    scored = targets[completion_mask]
    nats = F.cross_entropy(logits, scored, reduction="none")
    objective = nats
    if label_smoothing:
        objective = F.cross_entropy(
            logits, scored, reduction="none", label_smoothing=label_smoothing
        )
    if logit_penalty:
        # The derivative of half a square is the logit itself; the value cancels out.
        pull = 0.5 * logit_penalty * logits.max(dim=-1).values.square()
        objective = objective + (pull - pull.detach())
    return objective, nats.detach()


def _scored_logits(
    hidden: Float[Tensor, "B T C"],
    head_weight: Float[Tensor, "V C"],
    completion_mask: Bool[Tensor, "B T"],
) -> Float[Tensor, "scored V"]:
    """Logits of the scored positions alone, in float32 at least."""
    logits = F.linear(hidden[completion_mask], head_weight)
    return logits.float() if logits.dtype.itemsize < 4 else logits


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
