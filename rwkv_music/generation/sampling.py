"""Sample the next token with temperature, top-k and top-p, under a mask of allowed tokens.

B candidates, V vocabulary entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rwkv_music.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """Temperature, top-p and top-k, checked on construction."""

    temperature: float = 1.0
    """Logits are divided by it; 0 takes the most likely token."""
    top_p: float = 0.95
    """Keep the most likely tokens that together reach this probability."""
    top_k: int | None = None
    """Keep this many of the most likely tokens; all when None."""

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise InputError(f"temperature must be at least 0, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p must be in (0, 1], got {self.top_p}")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k must be at least 1, or None for all, got {self.top_k}")


def sample_tokens(
    logits: Float[Tensor, "B V"],
    allowed: Bool[Tensor, "B V"],
    settings: SamplingSettings,
    generators: Sequence[torch.Generator],
) -> Int[Tensor, " B"]:
    """Sample one allowed token per candidate, each with its own generator.

    Args:
        logits: Logits of the model, converted to float32.
        allowed: At least one True per row.
        settings: Temperature, top-p, top-k.
        generators: One per row, so that a candidate does not depend on the others.
    """
    masked = logits.float().cpu().masked_fill(~allowed.cpu(), -torch.inf)
    if settings.temperature == 0:
        return masked.argmax(-1)
    probabilities = torch.softmax(masked / settings.temperature, dim=-1)
    ordered, ids = probabilities.sort(dim=-1, descending=True, stable=True)
    # Keep a token while those before it have not reached top_p; the first is always kept.
    kept = ordered.cumsum(-1) - ordered < settings.top_p
    if settings.top_k is not None:
        kept[:, settings.top_k :] = False
    ordered = ordered * kept
    rows = [
        torch.multinomial(row, 1, generator=generator)
        for row, generator in zip(ordered, generators, strict=True)
    ]
    return ids.gather(1, torch.stack(rows)).squeeze(1)
