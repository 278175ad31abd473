"""Whether a backend computes the recurrence: the errors of all it returns, against float64."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from rwkv_music.evaluation.gpu.inputs import FAMILIES, as_bfloat16, draw, wide
from rwkv_music.ops.wkv7 import wkv7

LIMIT = 1e-4
"""Of each error, in float32 on inputs rounded to bfloat16."""
LIMIT_BFLOAT16 = 1e-2
"""With results rounded to bfloat16 as well."""
NAMES = ("y", "final state", *(f"d_{name}" for name in
         ("r", "decay_logit", "k", "v", "alpha", "beta", "state")))  # fmt: skip
LENGTHS = (1, 15, 16, 17, 257)


def everything(
    tensors: list[Tensor], backend: str, resets: Tensor | None = None
) -> dict[str, Tensor]:
    """Outputs, final state and the gradients of a fixed random sum of both."""
    leaves = [each.detach().clone().requires_grad_() for each in tensors]
    r, decay_logit, k, v, alpha, beta, before = leaves
    y, state = wkv7(r, decay_logit, k, v, alpha, beta, before, resets=resets, backend=backend)
    weights = [_random(y, 1, y.shape[1], 1, 64), _random(state, 1, 1, 64, 64)]
    gradients = torch.autograd.grad((y, state), leaves, weights)
    return dict(zip(NAMES, (y.detach(), state.detach(), *gradients), strict=True))


def _random(like: Tensor, *shape: int) -> Tensor:
    """Numbers that bfloat16 can hold, the same for every sequence and head."""
    found = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    return found.bfloat16().to(like.device, like.dtype).expand_as(like)


def relative_error(found: Tensor, truth: Tensor) -> float:
    """Root mean square of the difference over that of the truth; infinite for a NaN."""
    truth = truth.double().cpu()
    difference = (found.double().cpu() - truth).square().mean().sqrt()
    error = float(difference / truth.square().mean().sqrt().clamp_min(1e-300))
    return error if error == error else float("inf")  # noqa: PLR0124 - only a NaN differs


def errors_of(
    head: list[Tensor], backend: str, dtype: torch.dtype, device: torch.device, heads: int,
    resets: Tensor | None = None,
) -> dict[str, float]:  # fmt: skip
    """Of every result of the last head of several equal ones: what one leaves out shows."""
    truth = everything(head, "reference", resets)
    *sequences, state = wide(head, 1, heads, device)
    given = [*(each.to(dtype) for each in sequences), state]
    found = everything(given, backend, None if resets is None else resets.to(device))
    last = {
        name: each[:, -1:] if name in ("final state", "d_state") else each[:, :, -1:]
        for name, each in found.items()
    }
    return {name: relative_error(last[name], value) for name, value in truth.items()}


def gate(
    backend: str, device: torch.device, *, heads: tuple[int, ...] = (1,)
) -> Iterator[dict[str, Any]]:
    """A row for each family, length, and number of heads, which decides how heads are split."""
    cases = [
        *(("random", length, count) for length in LENGTHS for count in heads[:1]),
        *((family, 257, heads[0]) for family in FAMILIES[1:]),
        *(("random", 33, count) for count in heads[1:]),
    ]
    for dtype in (torch.float32, torch.bfloat16):
        limit = LIMIT if dtype == torch.float32 else LIMIT_BFLOAT16
        for family, length, count in cases:
            for with_resets in (False, True):
                resets = torch.zeros(1, length, dtype=torch.bool)
                resets[0, length // 2] = True
                head = as_bfloat16(draw(1, length, 1, family=family))
                errors = errors_of(
                    head, backend, dtype, device, count, resets if with_resets else None
                )
                worst = max(errors, key=errors.__getitem__)
                yield {
                    "backend": backend, "dtype": str(dtype).removeprefix("torch."),
                    "family": family, "steps": length, "heads": count, "resets": with_resets,
                    "worst": worst, "error": float(f"{errors[worst]:.3g}"),
                    "passes": errors[worst] < limit,
                }  # fmt: skip
