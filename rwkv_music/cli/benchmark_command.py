"""`rwkv-music benchmark gpu`: accuracy, speed and load of the kernels on this machine."""

import argparse
import json
from pathlib import Path
from typing import Any

from rwkv_music.atomic import write_atomic
from rwkv_music.cli.options import add_command
from rwkv_music.cli.paths import try_file
from rwkv_music.cli.terminal import print_message, print_result
from rwkv_music.errors import InputError, write_errors


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "benchmark",
        run,
        summary="Measure accuracy and speed on this machine; under 8 minutes.",
        example="rwkv-music benchmark gpu --json gpu.json",
    )
    parser.add_argument(
        "what", choices=["gpu"], help="gpu: kernels, training steps and decoding on an NVIDIA GPU"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures to this file")
    parser.add_argument("--on-cpu", action="store_true", help=argparse.SUPPRESS)  # for the tests


def run(given: argparse.Namespace) -> int:
    """Measure, print a summary, write the file; return 1 if a kernel is inaccurate."""
    import torch

    from rwkv_music.gpu_benchmark import report as gpu_report

    if not given.on_cpu:
        _require_gpu()
    if given.json is not None:
        try_file(given.json, "--json")
    device = torch.device("cpu") if given.on_cpu else torch.device("cuda", 0)
    report = gpu_report.run_benchmark(device, progress=_print_progress)
    for line in gpu_report.summary_lines(report):
        print_result(line)
    if given.json is not None:
        with write_errors(given.json):
            write_atomic(given.json, (json.dumps(report, indent=1) + "\n").encode())
        print_result(f"all figures are in {given.json}")
    return 0 if report["accuracy_passes"] else 1


def _require_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        raise InputError(
            f"benchmark gpu needs an NVIDIA GPU and a CUDA build of torch, but torch "
            f"{torch.__version__} finds no GPU: install the driver and a CUDA build (see "
            "pytorch.org), or run it on a machine with a GPU"
        )


def _print_progress(message: str) -> None:
    print_message(f"{message} ...")
