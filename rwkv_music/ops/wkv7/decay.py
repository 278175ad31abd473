"""The decay of RWKV-7: one factor per key channel and step, strictly between 0.545 and 1."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

DECAY_RATE = math.exp(-0.5)
"""The log decay is in (-exp(-1/2), 0): a channel forgets at most 45 % per step."""


def log_decay(decay_logit: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return ln d = -exp(-1/2) sigmoid(logit); a large logit forgets fast."""
    return -DECAY_RATE * torch.sigmoid(decay_logit)


def log_decay_gradient(decay_logit: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return d(ln d) / d(logit).

    Uses sigmoid(x) sigmoid(-x), since 1 - sigmoid(x) would cancel at a large logit.
    """
    return -DECAY_RATE * torch.sigmoid(decay_logit) * torch.sigmoid(-decay_logit)
