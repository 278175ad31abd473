"""How much memory a training step needs, told before it is taken.

The figures per token and layer are what one more layer keeps for the backward of one more token,
measured as bytes in use after a forward (`benchmarks.measuring.held_bytes`) and written as a
multiple of the width and of the low-rank widths; `benchmarks/step_memory.py` compares the whole
estimate with measured peaks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import psutil
import torch

from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelConfig
from rwkv_music.ops.cross_entropy import chunk_of_logits
from rwkv_music.settings import settings_text
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.presets import PRESETS

_GIB = 2**30


@dataclass(frozen=True)
class _Kept:
    """Bytes kept for the backward, for each token and layer."""

    per_channel: float
    per_inner_channel: float
    """For each channel of the low-rank branches."""
    per_channel_of_dropout: float


_KEPT = {
    ("native", "float32"): _Kept(72, 4, 8),
    ("native", "bfloat16"): _Kept(48, 2.3, 4),
    ("tiles", "bfloat16"): _Kept(54, 0, 4),
    ("chunked", "float32"): _Kept(221, 4, 8),
    ("chunked", "bfloat16"): _Kept(213, 2.3, 4),
}
"""Kernels that are not listed keep about as much as the native ones: they are as fused. "tiles" is
the native library that multiplies in tiles: it keeps the tokens that a product takes, and nothing
of what lies between two matrices."""
_INPUT_BYTES = 4
"""Of each channel: a layer's input, which is all that checkpointing keeps."""
_OUTSIDE_BYTES = {False: 8, True: 13}
"""Of each channel and token, around the layers: embeddings, what the head reads, the first layer's
value, which with checkpointing nobody else keeps."""
_BACKWARD_BYTES = 64
"""Of each channel and token, while one layer goes backward: gradients, tensors made again."""
_HEAP = {
    ("float32", False): (16.0, 1.0),
    ("float32", True): (36.0, 1.0),
    ("bfloat16", False): (3.5, 0.4),
    ("bfloat16", True): (6.6, 1.0),
    ("tiles", False): (6.0, 0.5),
    ("tiles", True): (0.3, 0.86),
}
"""By precision, or tiles, and checkpointing, what a CPU's C library cannot give again of what was
freed: bytes for each channel, token and layer, and a share of the gradients. Fitted to measured
peaks."""
_OPTIMIZER_BYTES = {"adamw": 8.0, "adafactor": 0.1}
"""For each parameter."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a training step needs at its fullest, by what they are for."""

    weights: int
    """Parameters in float32, and their copies in bfloat16 where the layers keep some."""
    gradients: int
    optimizer: int
    activations: int
    """What the layers keep for the backward, and one layer on its way backward."""
    head: int
    """One chunk of logits, what it came from, and the gradient of the head."""
    heap: int
    """What was freed and is not free to be used again, on a CPU."""

    @property
    def total(self) -> int:
        """When most is in memory: as the backward begins, or as it ends with all gradients."""
        held = self.weights + self.optimizer
        return held + max(self.activations + self.head + self.heap, self.gradients)

    def to_dict(self) -> dict[str, int]:
        """Its parts and their total."""
        parts = ("weights", "gradients", "optimizer", "activations", "head", "heap", "total")
        return {name: getattr(self, name) for name in parts}


@dataclass(frozen=True)
class Load:
    """The largest batch of a run, and who computes it."""

    positions: int
    """Of the batch, padding included."""
    scored: int
    """Positions that reach the head."""
    rows: int = 1
    """Of the batch; each has states of its own."""
    backend: str = "native"
    """Which kernels run, as `choose_backend` says."""
    has_tiles: bool = False
    """Whether the native library multiplies bfloat16 in tiles."""
    device: str = "cpu"
    """"cpu", "cuda" or "mps"; the head's chunks are larger on the last two."""
    parts: int = 1
    """Processes among which the parameters are divided."""

    def share(self, share: float) -> "Load":
        """The same with a smaller batch."""
        return replace(
            self,
            positions=max(1, int(self.positions * share)),
            scored=max(1, int(self.scored * share)),
            rows=max(1, int(self.rows * share)),
        )


def estimate_memory(model: ModelConfig, config: TrainingConfig, load: Load) -> MemoryEstimate:
    """What one step of training needs, beside the program itself.

    Args:
        model: Sizes.
        config: Its precision, checkpointing, optimizer and accumulation count.
        load: The batch.
    """
    parts = load.parts
    parameters = count_parameters(model)
    is_narrow = config.hardware.precision == "bfloat16"
    if _kernel(config, load) == "tiles":  # all but one matrix of a layer are rounded on the way
        rounded = model.num_layers * model.dim**2
    else:
        rounded = parameters - 2 * model.vocab_size * model.dim
    copies = 2 * rounded if is_narrow and not config.hardware.activation_checkpointing else 0
    gradients = 4 * parameters // parts
    layers = _activations(model, config, load)
    return MemoryEstimate(
        weights=(4 * parameters + copies) // parts,
        gradients=gradients,
        optimizer=int(_OPTIMIZER_BYTES[config.optimizer.optimizer] * parameters / parts),
        activations=layers + (gradients if config.optimizer.gradient_accumulation_steps > 1 else 0),
        head=_head(model, load, is_narrow=is_narrow),
        heap=_heap(model, config, load, gradients) if load.device == "cpu" else 0,
    )


def _kernel(config: TrainingConfig, load: Load) -> str:
    """As `_KEPT` names it."""
    if load.backend == "native" and load.has_tiles and config.hardware.precision == "bfloat16":
        return "tiles"
    return "chunked" if load.backend == "chunked" else "native"


def _activations(model: ModelConfig, config: TrainingConfig, load: Load) -> int:
    kept = _KEPT[_kernel(config, load), config.hardware.precision]
    inner = (
        model.decay_low_rank_dim
        + model.a_low_rank_dim
        + model.v_low_rank_dim
        + model.gate_low_rank_dim
    )
    layer = kept.per_channel * model.dim + kept.per_inner_channel * inner
    if model.dropout:
        layer += kept.per_channel_of_dropout * model.dim
    backward = _BACKWARD_BYTES * model.dim
    states = 4 * model.head_size * model.dim * load.rows * model.num_layers
    outside = _OUTSIDE_BYTES[config.hardware.activation_checkpointing] * model.dim
    if config.hardware.activation_checkpointing:
        per_token = _INPUT_BYTES * model.dim * model.num_layers + layer + backward + outside
    else:
        per_token = layer * model.num_layers + backward + outside
    return int(per_token * load.positions) + states


def _heap(model: ModelConfig, config: TrainingConfig, load: Load, gradients: int) -> int:
    kind = "tiles" if _kernel(config, load) == "tiles" else config.hardware.precision
    per_channel, share = _HEAP[kind, config.hardware.activation_checkpointing]
    lost = int(per_channel * model.dim * model.num_layers * load.positions)
    # Where gradients stay while batches are added up, they are counted already.
    return lost + (
        0 if config.optimizer.gradient_accumulation_steps > 1 else int(share * gradients)
    )


def _head(model: ModelConfig, load: Load, *, is_narrow: bool) -> int:
    chunk = min(load.scored, chunk_of_logits(model.vocab_size, load.device))
    logits = 2 * 4 * chunk * model.vocab_size
    rows = 2 * 4 * load.scored * model.dim
    weight = (6 if is_narrow else 4) * model.vocab_size * model.dim
    return logits + rows + weight


@lru_cache(maxsize=64)
def _parameters(
    vocab_size: int, num_layers: int, width: int, inner: tuple[int, int, int, int]
) -> int:
    decay, rate, value, gate = inner
    sizes = ModelConfig(
        vocab_size=vocab_size, num_layers=num_layers, dim=width,
        decay_low_rank_dim=decay, a_low_rank_dim=rate, v_low_rank_dim=value, gate_low_rank_dim=gate,
    )  # fmt: skip
    with torch.device("meta"):
        return sum(each.numel() for each in RWKV7(sizes).parameters())


def count_parameters(model: ModelConfig) -> int:
    """Numbers that are trained; counted without making them."""
    inner = (
        model.decay_low_rank_dim,
        model.a_low_rank_dim,
        model.v_low_rank_dim,
        model.gate_low_rank_dim,
    )
    return _parameters(model.vocab_size, model.num_layers, model.dim, inner)


def require_memory(
    model: ModelConfig, config: TrainingConfig, load: Load, *, free: int
) -> MemoryEstimate:
    """Refuse a run that will not fit, and say what would.

    Args:
        model: As in `estimate_memory`.
        config: See there.
        load: See there.
        free: Bytes there are.

    Raises:
        InputError: If the estimate is above what is free; it names the settings, or the largest
            preset, with which the run would fit.
    """
    estimate = estimate_memory(model, config, load)
    if estimate.total <= free:
        return estimate

    def fits(sizes: ModelConfig, changed: TrainingConfig) -> bool:
        smaller = load.share(changed.data.batch_size / config.data.batch_size)
        return estimate_memory(sizes, changed, smaller).total <= free

    advice = [
        settings_text(**changes)
        for changes in remedies(config)
        if fits(model, config.replace(**changes))
    ]
    smaller = _largest_preset(model, config, lambda sizes: fits(sizes, config))
    found = [*advice[:1], *([f"preset {smaller}"] if smaller else [])]
    remedy = f"try {', or '.join(found)}" if found else "use a machine with more memory"
    raise InputError(
        f"the run needs {estimate.total / _GIB:.1f} GiB, {free / _GIB:.1f} are free: {remedy}"
    )


def remedies(config: TrainingConfig) -> Iterator[dict[str, Any]]:
    """Settings with which a run needs less memory, those that change it least first.

    Each is yielded once, as the settings to change; what the run has already is left out.
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
    advice = [settings_text(**changes) for changes in (*same[-1:], *smaller[:1])]
    ways = " or with ".join([*advice, "a smaller preset"])
    return f"out of memory: end other programs, or start a new run with {ways}"


def _largest_preset(
    model: ModelConfig, config: TrainingConfig, fits: Callable[[ModelConfig], bool]
) -> str | None:
    """The preset with the most parameters among those smaller than the model that fit."""
    found: tuple[int, str] | None = None
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
            found = max(found or (0, ""), (parameters, name))
    return None if found is None else found[1]


def free_memory(device: str) -> int:
    """Bytes a run may still take on a device.

    Args:
        device: "cpu", "cuda" or "mps".
    """
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    if device == "mps":
        most = torch.mps.recommended_max_memory()
        return int(most - torch.mps.driver_allocated_memory())
    return int(psutil.virtual_memory().available)
