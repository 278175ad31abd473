"""Inputs of the recurrence, and everything that comes out of it, for the tests of its backends."""

import torch
from torch import Tensor

from benchmarks.wkv_inputs import trained_activations
from rwkv_music.ops.wkv7 import available_backends, wkv7

NAMES = ("r", "decay_logit", "k", "v", "alpha", "beta", "state")
LENGTHS = (1, 2, 31, 32, 33, 63, 64, 65, 100, 129)
FAMILIES = ("random", "fast", "slow", "parallel", "hardest", "trained")
"""Decays drawn at random, nearly 0.55, nearly 1; one key over and over; that key removed in full at
every step while nothing decays; and what a trained model computes from a chorale."""


FAST_BACKENDS = [name for name in available_backends("cpu") if name != "reference"]
"""The reference is the truth in float64. In float32 it rounds each decay near 1 the same way at
each step, which adds up to 1e-5 in the hardest family."""


def inputs(
    T: int, *, family: str = "random", B: int = 2, H: int = 2, N: int = 64, seed: int = 0
) -> list[Tensor]:
    """Six sequences and a state in float64, as the model would make them."""
    if family == "trained":
        return [each[:B, :T, :H] for each in trained_activations()[:6]] + [
            trained_activations()[6][:B, :H]
        ]
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    key = draw(B, T, H, N)
    if family in ("parallel", "hardest"):
        key = draw(1, 1, H, N) + 1e-3 * key
    removal = torch.nn.functional.normalize(key, dim=-1)
    rate = torch.sigmoid(draw(B, T, H, N))
    if family == "hardest":
        rate = torch.ones_like(rate)
    logit = {"fast": 3.0, "slow": -9.0, "hardest": -9.0}.get(family)
    decay_logit = draw(B, T, H, N) * 2 if logit is None else torch.full_like(rate, logit)
    return [
        draw(B, T, H, N), decay_logit, draw(B, T, H, N), draw(B, T, H, N),
        -removal, removal * rate, draw(B, H, N, N),
    ]  # fmt: skip


def everything(
    tensors: list[Tensor], backend: str, resets: Tensor | None = None
) -> dict[str, Tensor]:
    """Outputs, final state and all seven gradients of a fixed random scalar."""
    leaves = [each.detach().clone().requires_grad_() for each in tensors]
    y, final_state = wkv7(*leaves[:6], leaves[6], resets=resets, backend=backend)
    weights = torch.Generator().manual_seed(1)
    scalar = sum(
        (out * torch.randn(out.shape, dtype=torch.float64, generator=weights).to(out.dtype)).sum()
        for out in (y, final_state)
    )
    scalar.backward()
    found = {"y": y.detach(), "final state": final_state.detach()}
    for name, leaf in zip(NAMES, leaves, strict=True):
        assert leaf.grad is not None, name
        found[f"gradient of {name}"] = leaf.grad
    return found


def relative_error(found: Tensor, truth: Tensor) -> float:
    """Root mean square of the difference over that of the truth."""
    difference = (found.double() - truth.double()).square().mean().sqrt()
    return float(difference / truth.double().square().mean().sqrt())
