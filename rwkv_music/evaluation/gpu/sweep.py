"""How fast the recurrence is, forward and backward, over numbers of heads and lengths."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rwkv_music.evaluation.gpu.gate import relative_error
from rwkv_music.evaluation.gpu.inputs import draw, wide
from rwkv_music.evaluation.gpu.official_type import (
    logit_of,
    official_decay,
    official_recurrence,
)
from rwkv_music.evaluation.gpu.timing import REPEATS, Deadline, Stopwatch, summary
from rwkv_music.ops.wkv7 import wkv7

HEADS = (8, 16, 32, 64, 128, 512)
"""Of all sequences together: H x B."""
LENGTHS = (512, 1024, 4096)


def _as_it_is(decay_logit: Tensor) -> Tensor:
    return decay_logit


@dataclass(frozen=True)
class Contestant:
    """A way to compute the recurrence from six bfloat16 sequences and a state of zeros."""

    run: Callable[..., Tensor]
    """Outputs of (r, decay, k, v, alpha, beta)."""
    decay: Callable[[Tensor], Tensor] = _as_it_is
    """What it takes for a decay, of a decay logit."""
    logit: Callable[[Tensor], Tensor] = Tensor.double
    """The decay logit that it really used: rounding another parameter is not its error."""


def ours(backend: str) -> Contestant:
    """One of our backends."""
    return Contestant(lambda *sequences: wkv7(*sequences, backend=backend)[0])


OFFICIAL_TYPE = Contestant(official_recurrence, official_decay, logit_of)


def sweep(
    contestants: Mapping[str, Contestant],
    device: torch.device,
    *,
    heads: Sequence[int] = HEADS,
    lengths: Sequence[int] = LENGTHS,
    repeats: int = REPEATS,
    deadline: Deadline | None = None,
) -> Iterator[dict[str, Any]]:
    """A row for each contestant, number of heads and length, with its error beside its time.

    The error is the worst of outputs and gradients of one head, written in bfloat16: rounding
    alone costs 1.7e-3. The gate tells the errors in float32.
    """
    watch = Stopwatch(device)
    for length in lengths:
        head = [each.float().bfloat16() for each in draw(1, length, 1)[:6]]
        dy = torch.randn(1, length, 1, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
        truths = {name: _truth(each, head, dy) for name, each in contestants.items()}
        for count in heads:
            if deadline is not None and not deadline.left:
                yield {"steps": length, "heads": count, "skipped": "no time was left"}
                continue
            works, errors = {}, {}
            for name, contestant in contestants.items():
                try:
                    work = _work(contestant, head, dy, count, device)
                    found = [each[:, :, -1:] for each in work()]
                except torch.OutOfMemoryError:
                    size = {"steps": length, "heads": count}
                    yield {"contestant": name, **size, "skipped": "out of memory"}
                else:
                    works[name] = work
                    errors[name] = max(map(relative_error, found, truths[name]))
            taken = watch.in_turns(works, repeats=repeats, deadline=deadline)
            for name, seconds in taken.items():
                yield {
                    "contestant": name, "steps": length, "heads": count, **summary(seconds),
                    "error": float(f"{errors[name]:.3g}"),
                }  # fmt: skip


def _work(
    contestant: Contestant, head: list[Tensor], dy: Tensor, count: int, device: torch.device
) -> Callable[[], list[Tensor]]:
    """Forward and backward; returns outputs and gradients."""
    placed = [
        each.bfloat16() for each in wide([*head, torch.zeros(1, 1, 64, 64)], 1, count, device)
    ]
    placed[1] = contestant.decay(placed[1])
    leaves = [each.requires_grad_() for each in placed[:6]]
    weight = dy.to(device).expand(-1, -1, count, -1).contiguous()

    def work() -> list[Tensor]:
        y = contestant.run(*leaves)
        return [y.detach(), *torch.autograd.grad(y, leaves, weight)]

    return work


def _truth(contestant: Contestant, head: list[Tensor], dy: Tensor) -> list[Tensor]:
    """Outputs and gradients in float64 for what the contestant is given, decay and all."""
    given = [each.double() for each in head]
    decay = contestant.decay(head[1]).double().requires_grad_()
    leaves = [each.requires_grad_() for each in given]
    leaves[1] = decay
    sequences = [*leaves]
    sequences[1] = contestant.logit(decay)
    y, _ = wkv7(*sequences, backend="reference")
    return [y.detach(), *torch.autograd.grad(y, leaves, dy.double())]


def speedups(rows: Sequence[Mapping[str, Any]], ours: str = "cuda") -> list[dict[str, Any]]:
    """How many times faster one of ours is than each other contestant, size by size."""
    timed = [row for row in rows if "milliseconds" in row]
    by_size = {
        (row["steps"], row["heads"], row["contestant"]): row["milliseconds"] for row in timed
    }
    return [
        {
            "steps": steps, "heads": heads, "over": name,
            "times": round(milliseconds / by_size[steps, heads, ours], 2),
        }
        for (steps, heads, name), milliseconds in by_size.items()
        if name != ours and (steps, heads, ours) in by_size
    ]  # fmt: skip
