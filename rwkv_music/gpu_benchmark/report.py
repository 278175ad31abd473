"""Report of the GPU benchmark: accuracy, recurrence, training steps, decoding, machine."""

import platform
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

import torch

from rwkv_music import __version__
from rwkv_music.devices import DeviceMonitor
from rwkv_music.gpu_benchmark.accuracy import check_accuracy
from rwkv_music.gpu_benchmark.decoding_speed import measure_decoding
from rwkv_music.gpu_benchmark.recurrence_speed import (
    OFFICIAL_ALGORITHM,
    backend_implementation,
    measure_recurrence,
    speedups,
)
from rwkv_music.gpu_benchmark.stopwatch import Deadline
from rwkv_music.gpu_benchmark.training_speed import OFFICIAL_BACKEND, StepSizes, measure_training
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.ops import available_backends, describe_backends

_TIME_LIMIT_SECONDS = 450.0
"""For the whole benchmark; measurements that do not fit are reported as skipped."""
_SCHEMA = 2
_SMALL_STEP = StepSizes(2, 64, 32, 2, 32, repeats=2)


def _silent(_message: str) -> None:
    """Report no progress."""


def run_benchmark(
    device: torch.device, *, progress: Callable[[str], object] = _silent
) -> dict[str, Any]:
    """Measure accuracy, recurrence, training steps and decoding on a device.

    On a CPU all sizes are tiny and the times mean nothing.

    Args:
        device: Device to measure.
        progress: Called with a short text before each part.

    Returns:
        All figures, ready for JSON; `accuracy_passes` says whether every kernel is accurate.
    """
    began = time.perf_counter()
    deadline = Deadline(_TIME_LIMIT_SECONDS)
    kernels = ("cuda", "triton", "native")
    backends = [name for name in available_backends(device) if name in kernels]
    report: dict[str, Any] = {"schema": _SCHEMA, "machine": machine_info(device), "accuracy": []}
    heads = _heads_for_every_split(device) if device.type == "cuda" else (1, 2)
    for backend in backends:
        progress(f"checking {backend} against float64")
        report["accuracy"] += check_accuracy(backend, device, heads=heads)
    report["accuracy_passes"] = all(row["passes"] for row in report["accuracy"])
    report.update(_measure_speed(device, [*backends, "chunked"], deadline, progress))
    report["seconds"] = round(time.perf_counter() - began, 1)
    return report


def _heads_for_every_split(device: torch.device) -> tuple[int, ...]:
    """Return numbers of heads for which a head is split over 8, 4, 2 and 1 blocks."""
    blocks = 2 * torch.cuda.get_device_properties(device).multi_processor_count
    return (1, *(-(-blocks // splits) for splits in (4, 2, 1)))


def _measure_speed(
    device: torch.device, backends: list[str], deadline: Deadline, progress: Callable[[str], object]
) -> dict[str, Any]:
    on_gpu = device.type == "cuda"
    implementations = {name: backend_implementation(name) for name in backends}
    if "cuda" in backends:
        implementations[OFFICIAL_BACKEND] = OFFICIAL_ALGORITHM
    sizes: dict[str, Any] = {} if on_gpu else {"heads": (2,), "lengths": (32,), "repeats": 2}
    progress("timing the recurrence over heads and lengths")
    recurrence_deadline = Deadline(0.5 * deadline.left)
    recurrence = list(
        measure_recurrence(implementations, device, deadline=recurrence_deadline, **sizes)
    )
    progress("timing training steps")
    step_sizes = StepSizes() if on_gpu else _SMALL_STEP
    training_deadline = Deadline(0.6 * deadline.left)
    training = list(
        measure_training(
            list(implementations), device, sizes=step_sizes, deadline=training_deadline
        )
    )
    progress("timing decoding")
    decoding = list(
        measure_decoding(_decoding_model(device), repeats=20 if on_gpu else 2, deadline=deadline)
    )
    return {
        "recurrence": recurrence,
        "speedups": speedups(recurrence, backends[0]),
        "training": training,
        "decoding": decoding,
    }


def _decoding_model(device: torch.device) -> RWKV7:
    num_layers, dim = (12, 512) if device.type == "cuda" else (2, 64)
    model = RWKV7(ModelConfig(vocab_size=2048, num_layers=num_layers, dim=dim))
    initialize(model, seed=0)
    return model.to(device)


def machine_info(device: torch.device) -> dict[str, Any]:
    """Return the device, the versions and the date of a measurement."""
    reading = DeviceMonitor(device.type).sample()
    info: dict[str, Any] = {
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
        info["device"] = properties.name
        info["capability"] = f"{properties.major}.{properties.minor}"
        info["multiprocessors"] = properties.multi_processor_count
    return info


def summary_lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield a report as a few lines of text."""
    failures = [row for row in report["accuracy"] if not row["passes"]]
    checks = len(report["accuracy"])
    yield f"{report['machine']['device']}: {report['machine']['kernels']}"
    yield f"accuracy: {checks - len(failures)} of {checks} checks pass"
    for row in failures[:10]:
        yield f"  FAILED {row}"
    for row in report["speedups"]:
        size = f"{row['heads']} heads, {row['steps']} steps"
        yield f"  {row['speedup']} times as fast as {row['baseline']} ({size})"
    for row in report["training"]:
        speed = row.get("skipped") or f"{row['tokens_per_second']:,} tokens/s"
        busy = row.get("device_busy_percent")
        suffix = "" if busy is None else f", device {busy} % busy"
        yield f"training, {row['kernel']}: {speed}{suffix}"
    for row in report["decoding"]:
        yield (
            f"decoding, {row['mode']}, batch {row['batch_size']}: "
            f"{row['tokens_per_second']:,} tokens/s"
        )
    yield f"took {report['seconds']} s"
