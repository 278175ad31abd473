"""Time the WKV recurrence on a GPU and compare it with other implementations, with its errors.

    pip install -e '.[bench]'
    python -m benchmarks.wkv_gpu --json benchmarks/results/wkv_gpu.json

Forward and backward, bfloat16 in and out, heads of 64 channels, over the number of heads of all
sequences together and their length. The others are a kernel written after the official trainer's
algorithm and flash-linear-attention's chunked kernel. Times are CUDA events, median of 20, with the
cache flushed before each run; errors are those of one head against `reference` in float64 (rounding
results to bfloat16 alone causes 1.7e-3). `rwkv-music benchmark gpu` measures the same without
flash-linear-attention, plus whole training steps and decoding.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring import commit, write_report
from rwkv_music.errors import InputError
from rwkv_music.gpu_benchmark.recurrence_speed import (
    HEADS,
    LENGTHS,
    OFFICIAL_ALGORITHM,
    Implementation,
    backend_implementation,
    measure_recurrence,
    speedups,
)
from rwkv_music.gpu_benchmark.report import machine_info
from rwkv_music.gpu_benchmark.stopwatch import REPEATS
from rwkv_music.gpu_benchmark.training_speed import OFFICIAL_BACKEND
from rwkv_music.ops.backends import available_backends
from rwkv_music.ops.wkv7.decay import log_decay


def main() -> None:
    """Measure every size and write the report."""
    given = arguments()
    if not given.on_cpu and not torch.cuda.is_available():
        raise SystemExit(f"wkv_gpu needs an NVIDIA GPU; torch {torch.__version__} sees none here")
    device = torch.device("cpu" if given.on_cpu else "cuda")
    names = [name for name in available_backends(device) if name != "reference"]
    implementations = {name: backend_implementation(name) for name in names}
    skipped = []
    if "cuda" in names:
        implementations[OFFICIAL_BACKEND] = OFFICIAL_ALGORITHM
        try:
            implementations["fla"] = fla_chunked()
        except InputError as error:
            skipped.append(str(error))
    rows = list(
        measure_recurrence(
            implementations, device, heads=given.heads, lengths=given.lengths,
            repeats=given.repeats,
        )
    )  # fmt: skip
    report: dict[str, Any] = {
        "machine": {**machine_info(device), "commit": commit()},
        "settings": {"repeats": given.repeats, "seed": 0},
        "skipped": skipped,
        "rows": rows,
        "speedups": speedups(rows, names[0]),
    }
    write_report(report, given.json)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, nargs="+", default=list(HEADS), help="H x B")
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS))
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument(
        "--on-cpu", action="store_true", help="check that it runs; times mean nothing"
    )
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def fla_chunked() -> Implementation:
    """Return flash-linear-attention's chunked kernel, which takes a log decay.

    Raises:
        InputError: If it is not installed.
    """
    try:
        from fla.ops.generalized_delta_rule import chunk_dplr_delta_rule
    except ImportError as error:
        raise InputError(f"flash-linear-attention is skipped: {error}") from error

    def run(
        r: Tensor, decay_logit: Tensor, k: Tensor, v: Tensor, alpha: Tensor, beta: Tensor
    ) -> Tensor:
        y: Tensor
        y, _ = chunk_dplr_delta_rule(
            q=r, k=k, v=v, a=alpha, b=beta, gk=log_decay(decay_logit.float()), scale=1.0
        )
        return y

    return Implementation(run)


if __name__ == "__main__":
    main()
