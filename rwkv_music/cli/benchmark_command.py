"""`rwkv-music benchmark gpu`: is it right, how fast is it, and how busy; one file to send."""

import argparse
import json
import platform
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rwkv_music.cli.options import add_command
from rwkv_music.cli.paths import try_file, writing
from rwkv_music.cli.terminal import print_message, print_result
from rwkv_music.environment import temporary_env_var
from rwkv_music.errors import InputError

_SECONDS = 450.0
"""For everything; what does not fit is named as left out."""
_SCHEMA = 1


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Describe the command."""
    parser = add_command(
        commands,
        "benchmark",
        run,
        summary="Measure what this machine does with rwkv-music; under 8 minutes.",
        example="rwkv-music benchmark gpu --json gpu.json",
    )
    parser.add_argument(
        "what", choices=["gpu"], help="gpu: kernels, training steps and decoding on an NVIDIA GPU"
    )
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="write all figures there; a file to send"
    )
    parser.add_argument("--on-cpu", action="store_true", help=argparse.SUPPRESS)  # for the tests


def run(given: argparse.Namespace) -> int:
    """Measure, print a summary, write the file; 1 if a kernel of ours is wrong on this machine."""
    import torch

    if not given.on_cpu:
        _require_gpu()
    if given.json is not None:
        try_file(given.json, "--json")
    device = torch.device("cpu") if given.on_cpu else torch.device("cuda", 0)
    report = measure(device)
    for line in summary_lines(report):
        print_result(line)
    if given.json is not None:
        with writing(given.json):
            given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print_result(f"all figures are in {given.json}")
    return 0 if report["gate_passes"] else 1


def _require_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        raise InputError(
            f"benchmark gpu needs an NVIDIA GPU and a CUDA build of torch, and torch "
            f"{torch.__version__} sees none here: install the driver and a CUDA build as "
            "pytorch.org tells, or run this on a machine with a GPU"
        )


def measure(device: Any) -> dict[str, Any]:  # noqa: ANN401 - torch.device, and torch is slow to load
    """Gate, sweep, training steps and decoding. On a CPU tiny sizes, to see that it works."""
    from rwkv_music.evaluation.gpu.gate import gate
    from rwkv_music.evaluation.gpu.timing import Deadline
    from rwkv_music.ops.backends import available_backends

    began = time.perf_counter()
    deadline = Deadline(_SECONDS)
    on_gpu = device.type == "cuda"
    backends = [each for each in available_backends(device) if each in ("cuda", "triton", "native")]
    report: dict[str, Any] = {"schema": _SCHEMA, "machine": machine(device), "gate": []}
    for backend in backends:
        _say(f"checking {backend} against float64")
        heads = _heads_of_every_split(device) if on_gpu else (1, 2)
        report["gate"] += gate(backend, device, heads=heads)
    report["gate_passes"] = all(row["passes"] for row in report["gate"])
    report.update(_speed(device, [*backends, "chunked"], deadline))
    report["seconds"] = round(time.perf_counter() - began, 1)
    return report


def _heads_of_every_split(device: Any) -> tuple[int, ...]:  # noqa: ANN401
    """Numbers of heads for which a head is split over 8, 4, 2 and 1 blocks."""
    import torch

    places = 2 * torch.cuda.get_device_properties(device).multi_processor_count
    return (1, *(-(-places // splits) for splits in (4, 2, 1)))


def _speed(device: Any, backends: list[str], deadline: Any) -> dict[str, Any]:  # noqa: ANN401
    from rwkv_music.evaluation.gpu import sweep
    from rwkv_music.evaluation.gpu.decoding import decoding_rows
    from rwkv_music.evaluation.gpu.timing import Deadline
    from rwkv_music.ops.backends import VARIABLE
    from rwkv_music.training.step_benchmark import StepSizes, training_rows

    on_gpu = device.type == "cuda"
    contestants = {name: sweep.ours(name) for name in backends}
    if "cuda" in backends:
        contestants["official-type"] = sweep.OFFICIAL_TYPE
    sizes: dict[str, Any] = {} if on_gpu else {"heads": (2,), "lengths": (32,), "repeats": 2}
    _say("timing the recurrence over heads and lengths")
    swept = list(sweep.sweep(contestants, device, deadline=Deadline(0.5 * deadline.left), **sizes))
    _say("timing training steps")
    small = StepSizes(2, 64, 32, 2, 32, repeats=2)
    trained = list(
        training_rows(
            list(contestants), device, force=partial(temporary_env_var, VARIABLE),
            sizes=None if on_gpu else small, deadline=Deadline(0.6 * deadline.left),
        )
    )  # fmt: skip
    _say("timing decoding")
    model = _decoding_model(device)
    repeats = 20 if on_gpu else 2
    decoded = list(decoding_rows(model, repeats=repeats, deadline=deadline))
    return {
        "sweep": swept,
        "speedups": sweep.speedups(swept, backends[0]),
        "training": trained,
        "decoding": decoded,
    }


def _decoding_model(device: Any) -> Any:  # noqa: ANN401
    from rwkv_music.model import RWKV7, ModelConfig, initialize

    layers, width = (12, 512) if device.type == "cuda" else (2, 64)
    model = RWKV7(ModelConfig(vocab_size=2048, num_layers=layers, dim=width))
    initialize(model, seed=0)
    return model.to(device)


def machine(device: Any) -> dict[str, Any]:  # noqa: ANN401
    """What the figures were measured on, and when."""
    from importlib import metadata

    import torch

    from rwkv_music import __version__
    from rwkv_music.devices import DeviceMonitor
    from rwkv_music.ops.backends import describe_backends

    reading = DeviceMonitor(device.type).sample()
    found: dict[str, Any] = {
        "device": reading.name,
        "memory_bytes": reading.memory_total,
        "kernels": describe_backends(),
        "system": platform.platform(terse=True),
        "versions": {
            "rwkv-music": __version__, "python": platform.python_version(),
            "torch": metadata.version("torch"), "cuda": torch.version.cuda,
        },
        "seed": 0,
        "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found["device"] = properties.name
        found["capability"] = f"{properties.major}.{properties.minor}"
        found["multiprocessors"] = properties.multi_processor_count
    return found


def summary_lines(report: dict[str, Any]) -> Iterator[str]:
    """The report in a few lines."""
    failed = [row for row in report["gate"] if not row["passes"]]
    yield f"{report['machine']['device']}: {report['machine']['kernels']}"
    yield f"gate: {len(report['gate']) - len(failed)} of {len(report['gate'])} checks pass"
    for row in failed[:10]:
        yield f"  FAILS {row}"
    for row in report["speedups"]:
        size = f"{row['heads']} heads, {row['steps']} steps"
        yield f"  {row['times']} times as fast as {row['over']} ({size})"
    for row in report["training"]:
        told = row.get("skipped") or f"{row['tokens_per_second']:,} tokens/s"
        busy = row.get("device_busy_percent")
        yield f"training, {row['kernel']}: {told}" + ("" if busy is None else f", {busy} % busy")
    for row in report["decoding"]:
        yield (
            f"decoding, {row['way']}, batch {row['batch_size']}: "
            f"{row['tokens_per_second']:,} tokens/s"
        )
    yield f"took {report['seconds']} s"


def _say(what: str) -> None:
    print_message(f"{what} ...")
