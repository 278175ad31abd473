"""Accuracy of a WKV backend: relative errors of all results and gradients against float64."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from rwkv_music.gpu_benchmark.recurrence_inputs import (
    FAMILIES,
    expand_heads,
    random_inputs,
    round_to_bfloat16,
)
from rwkv_music.ops.wkv7 import wkv7

MAX_ERROR_FLOAT32 = 1e-4
"""Largest relative error allowed in float32, on inputs rounded to bfloat16."""
MAX_ERROR_BFLOAT16 = 1e-2
"""The same when results are rounded to bfloat16 as well."""
RESULT_NAMES = ("y", "final state", *(f"d_{name}" for name in
                ("r", "decay_logit", "k", "v", "alpha", "beta", "state")))  # fmt: skip
LENGTHS = (1, 15, 16, 17, 257)


def results_and_gradients(
    tensors: list[Tensor], backend: str, resets: Tensor | None = None
) -> dict[str, Tensor]:
    """Return outputs, final state and the gradients of a fixed random weighted sum of both."""
    leaves = [x.detach().clone().requires_grad_() for x in tensors]
    r, decay_logit, k, v, alpha, beta, initial_state = leaves
    y, final_state = wkv7(
        r, decay_logit, k, v, alpha, beta, initial_state, resets=resets, backend=backend
    )
    weights = [_random_weights(y, 1, y.shape[1], 1, 64), _random_weights(final_state, 1, 1, 64, 64)]
    gradients = torch.autograd.grad((y, final_state), leaves, weights)
    return dict(zip(RESULT_NAMES, (y.detach(), final_state.detach(), *gradients), strict=True))


def _random_weights(like: Tensor, *shape: int) -> Tensor:
    """Return numbers that bfloat16 represents exactly, equal for every sequence and head."""
    weights = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    return weights.bfloat16().to(like.device, like.dtype).expand_as(like)


def relative_error(result: Tensor, expected: Tensor) -> float:
    """Return the root mean square of the difference over that of `expected`; infinite for NaN."""
    expected = expected.double().cpu()
    difference = (result.double().cpu() - expected).square().mean().sqrt()
    error = float(difference / expected.square().mean().sqrt().clamp_min(1e-300))
    return error if error == error else float("inf")  # noqa: PLR0124 - only NaN differs from itself


def relative_errors(
    head: list[Tensor], backend: str, dtype: torch.dtype, device: torch.device, heads: int,
    resets: Tensor | None = None,
) -> dict[str, float]:  # fmt: skip
    """Return the errors of a backend run on `heads` copies of one head, measured on the last copy.

    The last copy shows the errors of a kernel that skips some of the heads.
    """
    expected = results_and_gradients(head, "reference", resets)
    *sequences, state = expand_heads(head, 1, heads, device)
    inputs = [*(x.to(dtype) for x in sequences), state]
    results = results_and_gradients(inputs, backend, None if resets is None else resets.to(device))
    last_head = {
        name: x[:, -1:] if name in ("final state", "d_state") else x[:, :, -1:]
        for name, x in results.items()
    }
    return {name: relative_error(last_head[name], x) for name, x in expected.items()}


def check_accuracy(
    backend: str, device: torch.device, *, heads: tuple[int, ...] = (1,)
) -> Iterator[dict[str, Any]]:
    """Yield one row for each dtype, family, length and number of heads.

    Args:
        backend: Name of the backend.
        device: Device to run it on.
        heads: Numbers of heads to test; they decide how a head is split over blocks.
    """
    cases = [
        *(("random", length, count) for length in LENGTHS for count in heads[:1]),
        *((family, 257, heads[0]) for family in FAMILIES[1:]),
        *(("random", 33, count) for count in heads[1:]),
    ]
    for dtype in (torch.float32, torch.bfloat16):
        limit = MAX_ERROR_FLOAT32 if dtype == torch.float32 else MAX_ERROR_BFLOAT16
        for family, length, count in cases:
            for with_resets in (False, True):
                resets = torch.zeros(1, length, dtype=torch.bool)
                resets[0, length // 2] = True
                head = round_to_bfloat16(random_inputs(1, length, 1, family=family))
                errors = relative_errors(
                    head, backend, dtype, device, count, resets if with_resets else None
                )
                worst = max(errors, key=errors.__getitem__)
                yield {
                    "backend": backend, "dtype": str(dtype).removeprefix("torch."),
                    "family": family, "steps": length, "heads": count, "resets": with_resets,
                    "worst": worst, "error": float(f"{errors[worst]:.3g}"),
                    "passes": errors[worst] < limit,
                }  # fmt: skip
