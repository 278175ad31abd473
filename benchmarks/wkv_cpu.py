"""Time the WKV recurrence alone, forward and backward, with its accuracy beside every time.

    pip install -e '.[bench]'
    python -m benchmarks.wkv_cpu --json benchmarks/results/wkv_cpu.json

Shapes are batch x steps x heads, heads of 64 channels. At the first shape our backends meet their
peers: the step loop of `reference.py`, the same loop left to autograd, and the two functions that
flash-linear-attention tests its GPU kernels against. At the others, and at the first once more with
one thread each, they meet our step loop only.
The error is the worst of y, final state and all seven gradients: root mean square of the difference
from `reference.py` in float64 over that of the truth, for the first sequence of the batch.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from benchmarks.measuring import (
    REPEATS,
    Timing,
    alternate,
    machine,
    rounded,
    saved_bytes,
    time_ratio,
    write_report,
)
from benchmarks.trained_inputs import ALL_FAMILIES, recurrence_inputs
from benchmarks.wkv_peers import Recurrence, fla_peers, step_loop
from rwkv_music.gpu_benchmark.accuracy import relative_error
from rwkv_music.ops.wkv7 import available_backends, wkv7

NAMES = ("r", "decay_logit", "k", "v", "alpha", "beta", "state")
FAMILIES = tuple(family for family in ALL_FAMILIES if family != "hardest")
STEP_LOOP = "reference"
AUTOGRAD_LOOP = "autograd loop"
SHAPES = (
    "4x1024x4",
    "1x256x1",
    "4x256x4",
    "8x256x4",
    "1x1024x1",
    "8x1024x4",
    "1x4096x1",
    "4x4096x4",
)


def main() -> None:
    """Measure every shape, then the accuracy on every family of inputs."""
    given = arguments()
    torch.set_num_threads(given.threads or psutil.cpu_count() or 1)
    fla, why_not = fla_peers()
    peers = {AUTOGRAD_LOOP: step_loop, **fla}
    described = machine("rwkv-music", *(["fla-core"] if fla else []))
    first, *others = given.shapes
    rows = [
        *measure(first, torch.float32, peers, given),
        *measure(first, torch.bfloat16, peers, given),
        *(row for shape in others for row in measure(shape, torch.float32, {}, given)),
    ]
    torch.set_num_threads(1)
    rows += measure(first, torch.float32, {}, given)
    report = {
        "machine": described,
        "settings": {"repeats": given.repeats, "seed": given.seed, "quick": given.quick},
        "left_out": why_not,
        "rows": rows,
        "accuracy": list(accuracy(given)),
    }
    write_report(report, given.json)


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), metavar="BxTxH")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="as many as processors when 0")
    parser.add_argument("--quick", action="store_true", help="short sequences, two repeats")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.quick:
        given.shapes, given.repeats = ["2x64x2", "1x32x1"], 2
    return given


def leaves_of(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The same values to differentiate by; the state stays in float32 at least."""
    *sequences, state = tensors
    state_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    copies = [
        *(tensor.to(dtype, copy=True) for tensor in sequences),
        state.to(state_dtype, copy=True),
    ]
    return [tensor.requires_grad_() for tensor in copies]


def weights_of(leaves: list[Tensor], seed: int) -> list[Tensor]:
    """What the outputs and the final state weigh in the sum that is differentiated."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(leaf.shape[1:], generator=generator) for leaf in (leaves[0], leaves[6])]
    return [
        weights.to(leaf).expand_as(leaf)
        for weights, leaf in zip(drawn, (leaves[0], leaves[6]), strict=True)
    ]


def forward_and_backward(
    run: Recurrence, leaves: list[Tensor], weights: list[Tensor]
) -> list[Tensor]:
    """The outputs, the final state, and the seven gradients of a weighted sum of both."""
    y, state = run(*leaves)
    gradients = torch.autograd.grad((y, state), leaves, weights)
    return [y.detach(), state.detach(), *gradients]


def truth_of(tensors: list[Tensor], dtype: torch.dtype, seed: int) -> list[Tensor]:
    """The reference in float64 for the first sequence, on inputs rounded to the dtype."""
    first = [tensor[:1].to(dtype) for tensor in tensors[:6]] + [tensors[6][:1].float()]
    leaves = leaves_of(first, torch.float64)
    return forward_and_backward(partial(wkv7, backend=STEP_LOOP), leaves, weights_of(leaves, seed))


def errors(
    run: Recurrence,
    tensors: list[Tensor],
    dtype: torch.dtype,
    seed: int,
    truth: list[Tensor] | None = None,
) -> dict[str, float]:
    """Relative errors of everything, for the first sequence; `truth` is that of `truth_of`."""
    leaves = leaves_of(tensors, dtype)
    results = forward_and_backward(run, leaves, weights_of(leaves, seed))
    names = ("y", "final state", *(f"gradient of {name}" for name in NAMES))
    return {
        name: relative_error(mine[:1], exact)
        for name, mine, exact in zip(
            names, results, truth or truth_of(tensors, dtype, seed), strict=True
        )
    }


def implementations(peers: dict[str, Recurrence]) -> dict[str, Recurrence]:
    """Our backends and their peers."""
    ours = {name: partial(wkv7, backend=name) for name in available_backends("cpu")}
    return {**ours, **peers}


def measure(
    shape: str, dtype: torch.dtype, peers: dict[str, Recurrence], given: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """A row for each implementation: time, ratio to the step loops, error, bytes kept."""
    tensors = recurrence_inputs(*map(int, shape.split("x")), seed=given.seed)
    leaves = leaves_of(tensors, dtype)
    runs = implementations(peers)
    works: dict[str, Callable[[], object]] = {
        name: partial(forward_and_backward, run, leaves, weights_of(leaves, given.seed))
        for name, run in runs.items()
    }
    timings = alternate(works, repeats=given.repeats)
    truth = truth_of(tensors, dtype, given.seed)
    for name, run in runs.items():
        worst_errors = errors(run, tensors, dtype, given.seed, truth)
        yield {
            "shape": shape,
            "threads": torch.get_num_threads(),
            "precision": str(dtype).removeprefix("torch."),
            "implementation": name,
            "ours": name in available_backends("cpu"),
            **timings[name].to_dict(),
            "times_faster_than": times_faster(timings[name], timings),
            "worst_error": rounded(max(worst_errors.values()), 3),
            "worst_in": max(worst_errors, key=lambda name: worst_errors[name]),
            **bytes_kept(run, leaves),
        }


def times_faster(timing: Timing, timings: dict[str, Timing]) -> dict[str, dict[str, float]]:
    """The step loops' seconds over an implementation's, turn by turn."""
    loops = [name for name in (STEP_LOOP, AUTOGRAD_LOOP) if name in timings]
    return {name: time_ratio(timings[name], timing) for name in loops}


def bytes_kept(run: Recurrence, leaves: list[Tensor]) -> dict[str, float]:
    """Bytes kept for the backward per token of a layer of 256 channels, inputs and all.

    Counted at the heads there are, and scaled to four.
    """
    B, T, H, _ = leaves[0].shape
    scale = 4 / (B * T * H)
    kept = saved_bytes(lambda: run(*leaves))
    return {
        "saved_bytes_per_token_at_256": round(kept * scale, 1),
        "inputs_bytes_per_token_at_256": sum(leaf[0, 0, 0].nbytes for leaf in leaves[:6]) * 4,
    }


def accuracy(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Worst errors of our backends in float32, over families of inputs."""
    _, T, H = map(int, given.shapes[0].split("x"))
    for family in FAMILIES:
        tensors = recurrence_inputs(1, T, H, family=family, seed=given.seed)
        truth = truth_of(tensors, torch.float32, given.seed)
        for name in available_backends("cpu"):
            worst_errors = errors(
                partial(wkv7, backend=name), tensors, torch.float32, given.seed, truth
            )
            worst = max(worst_errors, key=lambda name: worst_errors[name])
            yield {
                "family": family,
                "backend": name,
                "worst_error": rounded(worst_errors[worst], 3),
                "worst_in": worst,
            }


if __name__ == "__main__":
    main()
