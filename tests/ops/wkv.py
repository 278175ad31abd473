"""Inputs of the recurrence, and everything that comes out of it, for the tests of its backends."""

import torch
from torch import Tensor

from benchmarks import wkv_inputs
from rwkv_music.evaluation.gpu.gate import relative_error
from rwkv_music.evaluation.gpu.inputs import FAMILIES as DRAWN_FAMILIES
from rwkv_music.evaluation.gpu.inputs import draw
from rwkv_music.ops.wkv7 import available_backends, wkv7

__all__ = [
    "FAMILIES", "FAST_BACKENDS", "LENGTHS", "NAMES", "everything", "inputs", "relative_error",
]  # fmt: skip

NAMES = ("r", "decay_logit", "k", "v", "alpha", "beta", "state")
LENGTHS = (1, 2, 31, 32, 33, 63, 64, 65, 100, 129)
FAMILIES = (*DRAWN_FAMILIES, "trained")
"""What can be drawn, and what a trained model computes from a chorale."""
FAST_BACKENDS = [name for name in available_backends("cpu") if name != "reference"]
"""The reference is the truth in float64. In float32 it rounds each decay near 1 the same way at
each step, which adds up to 1e-5 in the hardest family."""


def inputs(
    T: int, *, family: str = "random", B: int = 2, H: int = 2, N: int = 64, seed: int = 0
) -> list[Tensor]:
    """Six sequences and a state in float64, as the model would make them."""
    if family == "trained":
        return wkv_inputs.draw(f"{B}x{T}x{H}", seed, family)
    return draw(B, T, H, width=N, family=family, seed=seed)


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
