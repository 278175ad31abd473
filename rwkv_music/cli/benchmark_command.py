"""`rwkv-music benchmark`: the kernels on this machine, and public tables of likelihoods."""

import argparse
import json
from pathlib import Path
from typing import Any

from rwkv_music.atomic import write_atomic
from rwkv_music.cli.options import add_command, whole_number
from rwkv_music.cli.paths import try_file
from rwkv_music.cli.terminal import print_message, print_result
from rwkv_music.errors import InputError, write_errors


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "benchmark",
        run,
        summary="Measure kernels on a GPU (8 minutes), or likelihoods of public data (hours).",
        example="rwkv-music benchmark jsb --data jsb_chorales --json jsb.json",
    )
    parser.add_argument(
        "what",
        choices=["gpu", "jsb", "polyphonic"],
        help="gpu: kernels, training steps and decoding on an NVIDIA GPU; jsb: nats per slot of "
        "the JSB chorales; polyphonic: nats per frame of Nottingham, JSB, MuseData and Piano-midi",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures to this file")
    learning = parser.add_argument_group("jsb and polyphonic")
    learning.add_argument("--data", metavar="FOLDER", type=Path, help="folder with the data")
    learning.add_argument(
        "--seeds",
        metavar="N",
        type=whole_number(at_least=1),
        default=1,
        help="models to average (default: 1)",
    )
    learning.add_argument(
        "--steps", metavar="N", type=whole_number(at_least=1), help="training steps of each model"
    )
    learning.add_argument("--sets", metavar="NAME", nargs="+", help="polyphonic: only these sets")
    parser.add_argument("--on-cpu", action="store_true", help=argparse.SUPPRESS)  # for the tests


def run(given: argparse.Namespace) -> int:
    """Measure, print a summary, write the file; return 1 if a kernel is inaccurate."""
    return _run_gpu(given) if given.what == "gpu" else _run_learning(given)


def _run_learning(given: argparse.Namespace) -> int:
    """Train and score models of public data."""
    from dataclasses import replace

    import torch

    from rwkv_music.evaluation import benchmarks
    from rwkv_music.gpu_benchmark.report import machine_info

    if given.data is None:
        raise InputError(
            f"benchmark {given.what} needs --data FOLDER; docs/benchmarks.md says where the data "
            "can be had"
        )
    if given.json is not None:
        try_file(given.json, "--json")
    seeds = range(given.seeds)
    if given.what == "jsb":
        chorales = benchmarks.JSBSettings()
        fit = replace(chorales.fit, steps=given.steps or chorales.fit.steps)
        report = benchmarks.jsb_report(given.data, replace(chorales, fit=fit), seeds, print_message)
    else:
        names = given.sets or list(benchmarks.SETS)
        unknown = [name for name in names if name not in benchmarks.SETS]
        if unknown:
            raise InputError(
                f"--sets {unknown[0]} is unknown: the sets are {', '.join(benchmarks.SETS)}"
            )
        frames = benchmarks.FrameSettings()
        fit = replace(frames.fit, steps=given.steps or frames.fit.steps)
        report = benchmarks.polyphonic_report(
            given.data, names, replace(frames, fit=fit), seeds, print_message
        )
    for row in report["rows"]:
        print_result(", ".join(f"{name} {_figure(value)}" for name, value in row.items()))
    report["machine"] = machine_info(torch.device("cpu"))
    _write(report, given.json)
    return 0


def _figure(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _write(report: dict[str, Any], path: Path | None) -> None:
    if path is not None:
        with write_errors(path):
            write_atomic(path, (json.dumps(report, indent=1) + "\n").encode())
        print_result(f"all figures are in {path}")


def _run_gpu(given: argparse.Namespace) -> int:
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
    _write(report, given.json)
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
