"""Results and gradients of the recurrence, for the tests of its backends."""

import torch
from torch import Tensor

from benchmarks.trained_inputs import ALL_FAMILIES as FAMILIES
from benchmarks.trained_inputs import recurrence_inputs
from rwkv_music.gpu_benchmark.accuracy import relative_error
from rwkv_music.ops.wkv7 import available_backends, wkv7

__all__ = [
    "FAMILIES", "FAST_BACKENDS", "LENGTHS", "NAMES", "inputs", "relative_error",
    "results_and_gradients",
]  # fmt: skip

NAMES = ("r", "decay_logit", "k", "v", "alpha", "beta", "state")
LENGTHS = (1, 2, 31, 32, 33, 63, 64, 65, 100, 129)
FAST_BACKENDS = [name for name in available_backends("cpu") if name != "reference"]
"""The backends compared with `reference` in float64. In float32 the reference rounds each decay
near 1 the same way at every step, which adds up to 1e-5 in the hardest family."""


def inputs(
    T: int, *, family: str = "random", B: int = 2, H: int = 2, N: int = 64, seed: int = 0
) -> list[Tensor]:
    """Return six sequences and a state in float64, as in a model."""
    return recurrence_inputs(B, T, H, head_size=N, family=family, seed=seed)


def results_and_gradients(
    tensors: list[Tensor], backend: str, resets: Tensor | None = None
) -> dict[str, Tensor]:
    """Return outputs, final state and all seven gradients of a fixed random weighted sum."""
    leaves = [x.detach().clone().requires_grad_() for x in tensors]
    y, final_state = wkv7(*leaves[:6], leaves[6], resets=resets, backend=backend)
    generator = torch.Generator().manual_seed(1)
    total = sum(
        (out * torch.randn(out.shape, dtype=torch.float64, generator=generator).to(out.dtype)).sum()
        for out in (y, final_state)
    )
    total.backward()
    results = {"y": y.detach(), "final state": final_state.detach()}
    for name, leaf in zip(NAMES, leaves, strict=True):
        assert leaf.grad is not None, name
        results[f"gradient of {name}"] = leaf.grad
    return results
