"""Speed of the recurrence, forward and backward, over numbers of heads and lengths."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rwkv_music.gpu_benchmark.accuracy import relative_error
from rwkv_music.gpu_benchmark.official_algorithm import (
    decay_logit_of,
    official_decay,
    official_recurrence,
)
from rwkv_music.gpu_benchmark.recurrence_inputs import expand_heads, random_inputs
from rwkv_music.gpu_benchmark.stopwatch import REPEATS, Deadline, Stopwatch, summary
from rwkv_music.ops.wkv7 import wkv7

HEADS = (8, 16, 32, 64, 128, 512)
"""Heads of all sequences together: H x B."""
LENGTHS = (512, 1024, 4096)


def _unchanged(decay_logit: Tensor) -> Tensor:
    return decay_logit


@dataclass(frozen=True)
class Implementation:
    """An implementation of the recurrence: six bfloat16 sequences, state of zeros."""

    run: Callable[..., Tensor]
    """Returns the outputs of (r, decay, k, v, alpha, beta)."""
    decay: Callable[[Tensor], Tensor] = _unchanged
    """Converts a decay logit to the decay parameter that `run` takes."""
    decay_logit: Callable[[Tensor], Tensor] = Tensor.double
    """Converts a rounded decay parameter back to a decay logit in float64, so that rounding the
    parameter does not count as an error."""


def backend_implementation(backend: str) -> Implementation:
    """Return one of our backends as an implementation."""
    return Implementation(lambda *sequences: wkv7(*sequences, backend=backend)[0])


OFFICIAL_ALGORITHM = Implementation(official_recurrence, official_decay, decay_logit_of)


def measure_recurrence(
    implementations: Mapping[str, Implementation],
    device: torch.device,
    *,
    heads: Sequence[int] = HEADS,
    lengths: Sequence[int] = LENGTHS,
    repeats: int = REPEATS,
    deadline: Deadline | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield time and error for each implementation, number of heads and length.

    The error is the worst of outputs and gradients of one head, written in bfloat16: rounding
    alone causes 1.7e-3. `check_accuracy` reports errors in float32.
    """
    stopwatch = Stopwatch(device)
    for length in lengths:
        head = [x.float().bfloat16() for x in random_inputs(1, length, 1)[:6]]
        dy = torch.randn(1, length, 1, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
        expected = {name: _expected(run, head, dy) for name, run in implementations.items()}
        for num_heads in heads:
            size = {"steps": length, "heads": num_heads}
            if deadline is not None and not deadline.left:
                yield {**size, "skipped": "no time was left"}
                continue
            functions, errors = {}, {}
            for name, implementation in implementations.items():
                try:
                    function = _forward_backward(implementation, head, dy, num_heads, device)
                    results = [x[:, :, -1:] for x in function()]
                except torch.OutOfMemoryError:
                    yield {"implementation": name, **size, "skipped": "out of memory"}
                else:
                    functions[name] = function
                    errors[name] = max(map(relative_error, results, expected[name]))
            timings = stopwatch.time_in_turns(functions, repeats=repeats, deadline=deadline)
            for name, seconds in timings.items():
                yield {
                    "implementation": name, **size, **summary(seconds),
                    "error": float(f"{errors[name]:.3g}"),
                }  # fmt: skip


def _forward_backward(
    implementation: Implementation,
    head: list[Tensor],
    dy: Tensor,
    num_heads: int,
    device: torch.device,
) -> Callable[[], list[Tensor]]:
    """Return a function that runs forward and backward and returns outputs and gradients."""
    inputs = [
        x.bfloat16() for x in expand_heads([*head, torch.zeros(1, 1, 64, 64)], 1, num_heads, device)
    ]
    inputs[1] = implementation.decay(inputs[1])
    leaves = [x.requires_grad_() for x in inputs[:6]]
    weight = dy.to(device).expand(-1, -1, num_heads, -1).contiguous()

    def run() -> list[Tensor]:
        y = implementation.run(*leaves)
        return [y.detach(), *torch.autograd.grad(y, leaves, weight)]

    return run


def _expected(implementation: Implementation, head: list[Tensor], dy: Tensor) -> list[Tensor]:
    """Return outputs and gradients in float64 for the inputs that the implementation gets."""
    leaves = [x.double().requires_grad_() for x in head]
    leaves[1] = implementation.decay(head[1]).double().requires_grad_()
    sequences = [*leaves]
    sequences[1] = implementation.decay_logit(leaves[1])
    y, _ = wkv7(*sequences, backend="reference")
    return [y.detach(), *torch.autograd.grad(y, leaves, dy.double())]


def speedups(rows: Sequence[Mapping[str, Any]], ours: str = "cuda") -> list[dict[str, Any]]:
    """Return how many times faster `ours` is than each other implementation, for each size."""
    milliseconds = {
        (row["steps"], row["heads"], row["implementation"]): row["milliseconds"]
        for row in rows
        if "milliseconds" in row
    }
    return [
        {
            "steps": steps, "heads": heads, "baseline": name,
            "speedup": round(baseline / milliseconds[steps, heads, ours], 2),
        }
        for (steps, heads, name), baseline in milliseconds.items()
        if name != ours and (steps, heads, ours) in milliseconds
    ]  # fmt: skip
