"""How many tokens a second a GPU trains, and how busy it is meanwhile.

The same model, batch, optimizer and precision with each kernel, among them one of the official
trainer's type, so that the ratio is that of the kernels in a whole step.
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
from rwkv_music.evaluation.gpu.official_type import CHUNK, official_decay, official_recurrence
from rwkv_music.evaluation.gpu.timing import Deadline, Stopwatch, summary
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.ops import wkv7
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.trainer import Trainer

_BUSY_SECONDS = 6.0
_PROFILED_STEPS = 3


@dataclass(frozen=True)
class StepSizes:
    """Of the model and its batch."""

    num_layers: int = 12
    width: int = 512
    vocabulary: int = 2048
    batch_size: int = 16
    length: int = 1024
    repeats: int = 20


def official_type(
    r: Tensor, decay_logit: Tensor, k: Tensor, v: Tensor, alpha: Tensor, beta: Tensor,
    state: Tensor, resets: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The official trainer's recipe for the recurrence, where `wkv7` calls a backend.

    Without states and resets, which that kernel does not have: the state given must be zeros.
    """
    assert resets is None
    sequences = [each.bfloat16() for each in (r, k, v, alpha, beta)]
    sequences.insert(1, official_decay(decay_logit))
    steps = r.shape[1]
    padded = [F.pad(each, (0, 0, 0, 0, 0, -steps % CHUNK)).contiguous() for each in sequences]
    return official_recurrence(*padded)[:, :steps], torch.zeros_like(state)


@contextmanager
def recurrence_of(name: str) -> Iterator[None]:
    """Inside, the backend `cuda` is the official trainer's type if that is the name."""
    before = dict(wkv7._BACKENDS)  # noqa: SLF001 - the one place where backends are exchanged
    if name == "official-type":
        wkv7._BACKENDS["cuda"] = official_type  # noqa: SLF001
    try:
        yield
    finally:
        wkv7._BACKENDS.update(before)  # noqa: SLF001


def training_rows(
    names: Sequence[str],
    device: torch.device,
    *,
    force: Callable[[str], Any],
    sizes: StepSizes | None = None,
    deadline: Deadline | None = None,
) -> Iterator[dict[str, Any]]:
    """A row for each kernel: whole training steps in bfloat16, tokens a second, how busy it was.

    Args:
        names: Of backends, and "official-type".
        device: Where to train.
        force: A context in which our model uses the backend named.
        sizes: Of the model and its batch.
        deadline: After which fewer steps are taken.
    """
    sizes = sizes or StepSizes()
    watch = Stopwatch(device)
    steps = {name: _step(name, sizes, device, force) for name in names}
    taken = watch.in_turns(steps, repeats=sizes.repeats, deadline=deadline)
    for name in names:
        if name not in taken:
            yield {"kernel": name, "skipped": "out of memory"}
            continue
        figures = summary(taken[name])
        tokens = sizes.batch_size * sizes.length
        yield {
            "kernel": name, "tokens": tokens, **figures,
            "tokens_per_second": round(1000 * tokens / float(figures["milliseconds"])),
            **busy_figures(steps[name], device, deadline),
        }  # fmt: skip


def _step(
    name: str, sizes: StepSizes, device: torch.device, force: Callable[[str], Any]
) -> Callable[[], object]:
    model = RWKV7(
        ModelConfig(vocab_size=sizes.vocabulary, num_layers=sizes.num_layers, dim=sizes.width)
    )
    initialize(model, seed=0)
    ids = torch.randint(
        sizes.vocabulary, (sizes.batch_size, sizes.length + 1),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    scored = torch.ones(sizes.batch_size, sizes.length, dtype=torch.bool)
    batch = Batch(ids[:, :-1], ids[:, 1:], scored)
    config = TrainingConfig(corpus="bach", out="", precision="bfloat16", dropout=0.0)
    trainer = Trainer(model.to(device), repeat(batch), config, padding_id=-1)

    def step() -> object:
        with force("cuda" if name == "official-type" else name), recurrence_of(name):
            return trainer.step(config.optimizer.warmup_steps + 1, [batch])

    return step


def busy_figures(
    step: Callable[[], object], device: torch.device, deadline: Deadline | None = None
) -> Mapping[str, Any]:
    """How busy the device is: as its driver tells while steps follow one another, and as the share
    of the time in which the profiler saw a kernel.
    """  # noqa: D205
    seconds = _BUSY_SECONDS if device.type == "cuda" else 0.5
    own = Deadline(min(seconds, deadline.left / 4) if deadline is not None else seconds)
    with DeviceSampler(DeviceMonitor(device.type)) as sampler:
        step()
        while own.left:
            step()
        busy, reading = sampler.mean_busy_percent(), sampler.latest()
        looks, share = sampler.samples_per_second(), sampler.processor_share()
    return {
        "device_busy_percent": busy,
        "kernel_busy_percent": _kernel_share(step) if device.type == "cuda" else None,
        "power_watts": None if reading is None else reading.power_watts,
        "temperature_celsius": None if reading is None else reading.temperature_celsius,
        "looks_per_second": round(looks, 1),
        "sampler_core_percent": round(100 * share, 3),
    }


def _kernel_share(step: Callable[[], object]) -> float:
    """Percent of a step's time in which kernels ran, by the profiler's sum over them."""
    from torch.profiler import ProfilerActivity, profile

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        begin.record()
        for _ in range(_PROFILED_STEPS):
            step()
        end.record()
        end.synchronize()
    microseconds = float(sum(each.self_device_time_total for each in seen.key_averages()))
    return round(0.1 * microseconds / float(begin.elapsed_time(end)), 1)
