"""Inputs of the recurrence as a model would make them, the same on every machine."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

N = 64
FAMILIES = ("random", "fast", "slow", "parallel", "hardest")
"""Decays drawn at random, nearly 0.55, nearly 1; one key over and over; that key removed in full at
every step while nothing decays."""


def draw(B: int, T: int, H: int, *, family: str = "random", seed: int = 0) -> list[Tensor]:
    """Six sequences [B, T, H, N] and a state [B, H, N, N], in float64, rounded to bfloat16.

    Rounded, so that a kernel that reads bfloat16 and one that reads float32 read the same numbers.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    key = normal(B, T, H, N)
    if family in ("parallel", "hardest"):
        key = normal(1, 1, H, N) + 1e-3 * key
    removal = F.normalize(key, dim=-1)
    rate = torch.sigmoid(normal(B, T, H, N))
    if family == "hardest":
        rate = torch.ones_like(rate)
    logit = 2 * normal(B, T, H, N)
    fixed = {"fast": 3.0, "slow": -9.0, "hardest": -9.0}.get(family)
    if fixed is not None:
        logit = torch.full_like(logit, fixed)
    found = [
        normal(B, T, H, N), logit, normal(B, T, H, N), normal(B, T, H, N),
        -removal, removal * rate, normal(B, H, N, N),
    ]  # fmt: skip
    return [each.bfloat16().double() for each in found]


def wide(head: list[Tensor], B: int, H: int, device: torch.device) -> list[Tensor]:
    """The same, for B sequences of H heads: every head is a copy of the one given.

    Heads do not know of one another, so that the truth about one is the truth about all.
    """
    *sequences, state = (each.to(device, torch.float32) for each in head)
    return [
        *(each.expand(B, -1, H, -1).contiguous() for each in sequences),
        state.expand(B, H, -1, -1).contiguous(),
    ]
