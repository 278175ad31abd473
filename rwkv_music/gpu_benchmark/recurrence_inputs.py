"""Random inputs of the WKV recurrence, distributed as in a model, equal on every machine."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

N = 64
FAMILIES = ("random", "fast", "slow", "parallel", "hardest")
"""Random decays; all decays near 0.55 ("fast"); all near 1 ("slow"); almost the same key at every
step ("parallel"); the same with that key removed completely at every step and decays near 1."""


def random_inputs(
    B: int, T: int, H: int, *, head_size: int = N, family: str = "random", seed: int = 0
) -> list[Tensor]:
    """Return six sequences [B, T, H, N] and a state [B, H, N, N] in float64.

    Args:
        B: Number of sequences.
        T: Number of steps.
        H: Number of heads.
        head_size: Channels of a head.
        family: One of `FAMILIES`.
        seed: Seed of the random numbers.
    """
    normal = partial(
        torch.randn, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    key = normal(B, T, H, head_size)
    if family in ("parallel", "hardest"):
        key = normal(1, 1, H, head_size) + 1e-3 * key
    removal_key = F.normalize(key, dim=-1)
    in_context_rate = torch.sigmoid(normal(B, T, H, head_size))
    if family == "hardest":
        in_context_rate = torch.ones_like(in_context_rate)
    decay_logit = 2 * normal(B, T, H, head_size)
    constant = {"fast": 3.0, "slow": -9.0, "hardest": -9.0}.get(family)
    if constant is not None:
        decay_logit = torch.full_like(decay_logit, constant)
    r, k, v = (normal(B, T, H, head_size) for _ in range(3))
    state = normal(B, H, head_size, head_size)
    return [r, decay_logit, k, v, -removal_key, removal_key * in_context_rate, state]


def round_to_bfloat16(tensors: list[Tensor]) -> list[Tensor]:
    """Round to values that bfloat16 represents, so that kernels of both dtypes get equal inputs."""
    return [x.bfloat16().to(x.dtype) for x in tensors]


def expand_heads(head: list[Tensor], B: int, H: int, device: torch.device) -> list[Tensor]:
    """Repeat the inputs of one head for B sequences of H heads, in float32.

    Heads are independent of one another, so that the correct results of one hold for all.
    """
    *sequences, state = (x.to(device, torch.float32) for x in head)
    return [
        *(x.expand(B, -1, H, -1).contiguous() for x in sequences),
        state.expand(B, H, -1, -1).contiguous(),
    ]
