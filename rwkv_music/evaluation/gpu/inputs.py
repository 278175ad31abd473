"""Inputs of the recurrence as a model would make them, the same on every machine."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

N = 64
FAMILIES = ("random", "fast", "slow", "parallel", "hardest")
"""Decays drawn at random, nearly 0.55, nearly 1; one key over and over; that key removed in full at
every step while nothing decays."""


def draw(
    B: int, T: int, H: int, *, width: int = N, family: str = "random", seed: int = 0
) -> list[Tensor]:
    """Six sequences [B, T, H, N] and a state [B, H, N, N], in float64.

    Args:
        B: Sequences.
        T: Steps.
        H: Heads.
        width: Channels of a head.
        family: One of `FAMILIES`.
        seed: Of the random numbers.
    """
    normal = partial(
        torch.randn, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    key = normal(B, T, H, width)
    if family in ("parallel", "hardest"):
        key = normal(1, 1, H, width) + 1e-3 * key
    removal = F.normalize(key, dim=-1)
    rate = torch.sigmoid(normal(B, T, H, width))
    if family == "hardest":
        rate = torch.ones_like(rate)
    logit = 2 * normal(B, T, H, width)
    fixed = {"fast": 3.0, "slow": -9.0, "hardest": -9.0}.get(family)
    if fixed is not None:
        logit = torch.full_like(logit, fixed)
    r, k, v = (normal(B, T, H, width) for _ in range(3))
    return [r, logit, k, v, -removal, removal * rate, normal(B, H, width, width)]


def as_bfloat16(tensors: list[Tensor]) -> list[Tensor]:
    """Numbers that bfloat16 can hold: a kernel that reads float32 then reads the same ones."""
    return [each.bfloat16().to(each.dtype) for each in tensors]


def wide(head: list[Tensor], B: int, H: int, device: torch.device) -> list[Tensor]:
    """The same, for B sequences of H heads: every head is a copy of the one given.

    Heads do not know of one another, so that the truth about one is the truth about all.
    """
    *sequences, state = (each.to(device, torch.float32) for each in head)
    return [
        *(each.expand(B, -1, H, -1).contiguous() for each in sequences),
        state.expand(B, H, -1, -1).contiguous(),
    ]
