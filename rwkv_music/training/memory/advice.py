"""Refuse runs that do not fit into memory, and advise on settings that do."""

from collections.abc import Callable, Iterator
from typing import Any

from rwkv_music.errors import InputError
from rwkv_music.model import ModelConfig
from rwkv_music.settings import settings_code
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.memory.estimate import (
    MemoryEstimate,
    StepWorkload,
    count_parameters,
    estimate_memory,
)
from rwkv_music.training.presets import PRESETS

_GIB = 2**30


def require_memory(
    model: ModelConfig, config: TrainingConfig, workload: StepWorkload, *, free: int
) -> MemoryEstimate:
    """Refuse a run that does not fit into memory.

    Args:
        model: As in `estimate_memory`.
        config: As there.
        workload: As there.
        free: Free bytes.

    Raises:
        InputError: If the estimate exceeds the free memory; names the settings, or the largest
            preset, with which the run fits.
    """
    estimate = estimate_memory(model, config, workload)
    if estimate.total <= free:
        return estimate

    def fits(sizes: ModelConfig, changed: TrainingConfig) -> bool:
        smaller = workload.scaled(changed.data.batch_size / config.data.batch_size)
        return estimate_memory(sizes, changed, smaller).total <= free

    advice = [
        settings_code(**changes)
        for changes in remedies(config)
        if fits(model, config.replace(**changes))
    ]
    smaller = _largest_preset(model, config, lambda sizes: fits(sizes, config))
    options = [*advice[:1], *([f"preset {smaller}"] if smaller else [])]
    remedy = f"try {', or '.join(options)}" if options else "use a machine with more memory"
    raise InputError(
        f"the run needs {estimate.total / _GIB:.1f} GiB, {free / _GIB:.1f} GiB are free: {remedy}"
    )


def remedies(config: TrainingConfig) -> Iterator[dict[str, Any]]:
    """Yield settings with which a run needs less memory, the smallest changes first.

    Each is yielded once; values that the run already has are left out.
    """
    low_precision: dict[str, Any] = {"precision": "bfloat16"}
    lean = low_precision | {"activation_checkpointing": True}
    leanest = lean | ({"optimizer": "adafactor"} if config.hardware.sharding == "none" else {})
    batch_size = config.data.batch_size
    accumulated = config.optimizer.gradient_accumulation_steps
    smaller = [
        {
            "batch_size": batch_size // divisor,
            "gradient_accumulation_steps": accumulated * divisor,
        }
        for divisor in range(2, batch_size + 1)
        if batch_size % divisor == 0
    ]
    choices = [
        low_precision, {"activation_checkpointing": True}, lean, *smaller, leanest,
        *(leanest | fewer for fewer in smaller),
    ]  # fmt: skip
    current = config.flat()
    yielded: list[dict[str, Any]] = [{}]
    for choice in choices:
        changes = {name: value for name, value in choice.items() if current[name] != value}
        if changes not in yielded:
            yielded.append(changes)
            yield changes


def advice_when_full(config: TrainingConfig) -> str:
    """Return the message for a run that ran out of memory; its own settings are fixed by then.

    Example:
        >>> print(advice_when_full(TrainingConfig.preset("tiny", corpus="bach", out="run")))
        out of memory: end other programs, or start a new run with `precision='bfloat16',
        activation_checkpointing=True` or with `batch_size=2, gradient_accumulation_steps=2`
        or with a smaller preset
    """
    remaining = [changes for changes in remedies(config) if "optimizer" not in changes]
    same = [changes for changes in remaining if "batch_size" not in changes]
    smaller = [changes for changes in remaining if "batch_size" in changes]
    advice = [settings_code(**changes) for changes in (*same[-1:], *smaller[:1])]
    ways = " or with ".join([*advice, "a smaller preset"])
    return f"out of memory: end other programs, or start a new run with {ways}"


def _largest_preset(
    model: ModelConfig, config: TrainingConfig, fits: Callable[[ModelConfig], bool]
) -> str | None:
    """Return the largest preset that is smaller than the model and fits; None if there is none."""
    largest: tuple[int, str] | None = None
    for name in PRESETS:
        preset = TrainingConfig.preset(name, corpus=config.data.corpus, out=config.run.out)
        sizes = ModelConfig(
            vocab_size=model.vocab_size,
            num_layers=preset.model.num_layers,
            dim=preset.model.dim,
            dropout=preset.model.dropout,
        )
        parameters = count_parameters(sizes)
        if parameters < count_parameters(model) and fits(sizes):
            largest = max(largest or (0, ""), (parameters, name))
    return None if largest is None else largest[1]
