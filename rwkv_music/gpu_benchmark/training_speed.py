"""Speed of whole training steps on a GPU, and how busy the GPU is meanwhile.

Each kernel runs with the same model, batch, optimizer and precision, so that the ratios compare the
kernels within a whole step.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from rwkv_music.data import Batch
from rwkv_music.devices import DeviceMonitor, DeviceSampler
from rwkv_music.gpu_benchmark.official_algorithm import CHUNK, official_decay, official_recurrence
from rwkv_music.gpu_benchmark.stopwatch import Deadline, Stopwatch, summary
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.ops import Backend, register_backend, unregister_backend, use_backend
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.trainer import Trainer

OFFICIAL_BACKEND = "official-algorithm"
_BUSY_SECONDS = 6.0
_PROFILED_STEPS = 3


@dataclass(frozen=True)
class StepSizes:
    """Sizes of the model and its batch."""

    num_layers: int = 12
    dim: int = 512
    vocab_size: int = 2048
    batch_size: int = 16
    length: int = 1024
    repeats: int = 20


def official_backend(
    r: Tensor, decay_logit: Tensor, k: Tensor, v: Tensor, alpha: Tensor, beta: Tensor,
    state: Tensor, resets: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Compute the recurrence by the official trainer's algorithm, with a backend's signature.

    That kernel takes no state and no resets: the given state must be zeros.
    """
    assert resets is None
    sequences = [x.bfloat16() for x in (r, k, v, alpha, beta)]
    sequences.insert(1, official_decay(decay_logit))
    steps = r.shape[1]
    padded = [F.pad(x, (0, 0, 0, 0, 0, -steps % CHUNK)).contiguous() for x in sequences]
    return official_recurrence(*padded)[:, :steps], torch.zeros_like(state)


@contextmanager
def official_backend_registered() -> Iterator[None]:
    """Register `official_backend` under the name `OFFICIAL_BACKEND` inside a `with` block."""
    register_backend(Backend(OFFICIAL_BACKEND, official_backend, reads_bfloat16=True))
    try:
        yield
    finally:
        unregister_backend(OFFICIAL_BACKEND)


def measure_training(
    names: Sequence[str],
    device: torch.device,
    *,
    sizes: StepSizes | None = None,
    deadline: Deadline | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield tokens per second and load of the device for each kernel, in bfloat16 training steps.

    Args:
        names: Names of backends; `OFFICIAL_BACKEND` may be among them.
        device: Device to train on.
        sizes: Sizes of the model and its batch.
        deadline: After it, fewer steps are taken.
    """
    sizes = sizes or StepSizes()
    stopwatch = Stopwatch(device)
    with official_backend_registered():
        steps = {name: _training_step(name, sizes, device) for name in names}
        timings = stopwatch.time_in_turns(steps, repeats=sizes.repeats, deadline=deadline)
        for name in names:
            if name not in timings:
                yield {"kernel": name, "skipped": "out of memory"}
                continue
            figures = summary(timings[name])
            tokens = sizes.batch_size * sizes.length
            yield {
                "kernel": name, "tokens": tokens, **figures,
                "tokens_per_second": round(1000 * tokens / float(figures["milliseconds"])),
                **measure_load(steps[name], device, deadline),
            }  # fmt: skip


def _training_step(name: str, sizes: StepSizes, device: torch.device) -> Callable[[], object]:
    """Return a function that takes one training step of a new model with a backend."""
    model = RWKV7(
        ModelConfig(vocab_size=sizes.vocab_size, num_layers=sizes.num_layers, dim=sizes.dim)
    )
    initialize(model, seed=0)
    ids = torch.randint(
        sizes.vocab_size, (sizes.batch_size, sizes.length + 1),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    scored = torch.ones(sizes.batch_size, sizes.length, dtype=torch.bool)
    batch = Batch(ids[:, :-1], ids[:, 1:], scored)
    config = TrainingConfig(corpus="bach", out="", precision="bfloat16", dropout=0.0)
    trainer = Trainer(model.to(device), repeat(batch), config, padding_id=-1)

    def step() -> object:
        with use_backend(name):
            return trainer.step(config.optimizer.warmup_steps + 1, [batch])

    return step


def measure_load(
    step: Callable[[], object], device: torch.device, deadline: Deadline | None = None
) -> Mapping[str, Any]:
    """Return how busy the device is while steps run one after another.

    `device_busy_percent` is what the driver reports; `kernel_busy_percent` is the share of time in
    which the profiler saw a kernel run.
    """
    seconds = _BUSY_SECONDS if device.type == "cuda" else 0.5
    limit = Deadline(min(seconds, deadline.left / 4) if deadline is not None else seconds)
    with DeviceSampler(DeviceMonitor(device.type)) as sampler:
        step()
        while limit.left:
            step()
        busy, reading = sampler.mean_busy_percent(), sampler.latest()
        samples_per_second, core_fraction = sampler.samples_per_second(), sampler.core_fraction()
    return {
        "device_busy_percent": busy,
        "kernel_busy_percent": _kernel_busy_percent(step) if device.type == "cuda" else None,
        "power_watts": None if reading is None else reading.power_watts,
        "temperature_celsius": None if reading is None else reading.temperature_celsius,
        "samples_per_second": round(samples_per_second, 1),
        "sampler_core_percent": round(100 * core_fraction, 3),
    }


def _kernel_busy_percent(step: Callable[[], object]) -> float:
    """Return the percentage of a step's time in which kernels ran, as the profiler measures it."""
    from torch.profiler import ProfilerActivity, profile

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        begin.record()
        for _ in range(_PROFILED_STEPS):
            step()
        end.record()
        end.synchronize()
    microseconds = float(sum(row.self_device_time_total for row in profiler.key_averages()))
    return round(0.1 * microseconds / float(begin.elapsed_time(end)), 1)
