"""Time the WKV recurrence on a GPU beside its peers, with its accuracy beside every time.

    pip install -e '.[bench]'
    python -m benchmarks.wkv_gpu --json benchmarks/results/wkv_gpu.json

Forward and backward, bfloat16 in and out, heads of 64 channels, over the number of heads of all
sequences together and their length. Peers: a kernel of the official trainer's type, written from
its published algorithm, and flash-linear-attention's chunked kernel. Times are CUDA events, median
of 20, the cache flushed before each; the error is that of one head against `reference` in float64
(rounding results to bfloat16 alone costs 1.7e-3). `rwkv-music benchmark gpu` measures the same
without flash-linear-attention, and whole training steps and decoding as well.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring import commit, write_report
from rwkv_music.cli.benchmark_command import machine
from rwkv_music.errors import InputError
from rwkv_music.evaluation.gpu.sweep import (
    HEADS,
    LENGTHS,
    OFFICIAL_TYPE,
    Contestant,
    ours,
    speedups,
    sweep,
)
from rwkv_music.evaluation.gpu.timing import REPEATS
from rwkv_music.ops.backends import available_backends
from rwkv_music.ops.wkv7.decay import log_decay


def main() -> None:
    """Measure every size and write the report."""
    given = arguments()
    if not given.on_cpu and not torch.cuda.is_available():
        raise SystemExit(f"wkv_gpu needs an NVIDIA GPU; torch {torch.__version__} sees none here")
    device = torch.device("cpu" if given.on_cpu else "cuda")
    names = [each for each in available_backends(device) if each != "reference"]
    contestants = {name: ours(name) for name in names}
    left_out = []
    if "cuda" in names:
        contestants["official-type"] = OFFICIAL_TYPE
        try:
            contestants["fla"] = fla_chunked()
        except InputError as error:
            left_out.append(str(error))
    rows = list(
        sweep(contestants, device, heads=given.heads, lengths=given.lengths, repeats=given.repeats)
    )
    report: dict[str, Any] = {
        "machine": {**machine(device), "commit": commit()},
        "settings": {"repeats": given.repeats, "seed": 0},
        "left_out": left_out,
        "rows": rows,
        "speedups": speedups(rows, names[0]),
    }
    write_report(report, given.json)


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, nargs="+", default=list(HEADS), help="H x B")
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS))
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--on-cpu", action="store_true", help="to see that it works, nothing else")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def fla_chunked() -> Contestant:
    """flash-linear-attention's chunked kernel; it takes a log decay.

    Raises:
        InputError: If it is not installed.
    """
    try:
        from fla.ops.generalized_delta_rule import chunk_dplr_delta_rule
    except ImportError as error:
        raise InputError(f"flash-linear-attention is left out: {error}") from error

    def run(
        r: Tensor, decay_logit: Tensor, k: Tensor, v: Tensor, alpha: Tensor, beta: Tensor
    ) -> Tensor:
        y: Tensor
        y, _ = chunk_dplr_delta_rule(
            q=r, k=k, v=v, a=alpha, b=beta, gk=log_decay(decay_logit.float()), scale=1.0
        )
        return y

    return Contestant(run)


if __name__ == "__main__":
    main()
