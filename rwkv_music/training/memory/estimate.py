"""Estimate of the memory that a training step needs.

The figures per token and layer are the bytes that one more layer keeps for the backward pass of one
more token, measured after a forward pass (`benchmarks.measuring.held_bytes`) and written as
multiples of the model's dim and low-rank dims. `benchmarks/step_memory.py` compares the whole
estimate with measured peaks.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import psutil
import torch

from rwkv_music.model import RWKV7, ModelConfig
from rwkv_music.ops.cross_entropy import chunk_of_logits
from rwkv_music.training.config import TrainingConfig


@dataclass(frozen=True)
class _SavedBytes:
    """Bytes saved for the backward pass, per token and layer."""

    per_channel: float
    per_low_rank_channel: float
    per_dropout_channel: float
    """Per channel of the model, where it has dropout."""


_SAVED_BYTES = {
    ("native", "float32"): _SavedBytes(72, 4, 8),
    ("native", "bfloat16"): _SavedBytes(48, 2.3, 4),
    ("tiles", "bfloat16"): _SavedBytes(54, 0, 4),
    ("chunked", "float32"): _SavedBytes(221, 4, 8),
    ("chunked", "bfloat16"): _SavedBytes(213, 2.3, 4),
}
"""By kernels and precision. Kernels that are not listed are fused like the native ones and save
about as much. "tiles" is the native library with matrix products in tiles (AMX): it saves the
inputs of the products and nothing between two matrices."""
_INPUT_BYTES = 4
"""Per channel and token: a layer's input, which is all that activation checkpointing saves."""
_OUTSIDE_BYTES = {False: 8, True: 13}
"""Per channel and token, by activation checkpointing, outside the layers: embeddings, the input of
the head, and the first layer's value, which the layers save themselves without checkpointing."""
_BACKWARD_BYTES = 64
"""Per channel and token, in the backward pass of one layer: gradients and recomputed tensors."""
_HEAP_LOSS = {
    ("float32", False): (16.0, 1.0),
    ("float32", True): (36.0, 1.0),
    ("bfloat16", False): (3.5, 0.4),
    ("bfloat16", True): (6.6, 1.0),
    ("tiles", False): (6.0, 0.5),
    ("tiles", True): (0.3, 0.86),
}
"""By precision (or tiles) and activation checkpointing: freed memory that a CPU's C library cannot
reuse, as bytes per channel, token and layer, and as a fraction of the gradients. Fitted to measured
peaks."""
_OPTIMIZER_BYTES = {"adamw": 8.0, "adafactor": 0.1}
"""Per parameter."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak bytes of a training step, by purpose."""

    weights: int
    """Parameters in float32, and their bfloat16 copies where the layers save some."""
    gradients: int
    optimizer: int
    activations: int
    """What the layers save for the backward pass, and the backward pass of one layer."""
    head: int
    """One chunk of logits, its inputs, and the gradient of the head."""
    heap: int
    """Freed memory that cannot be reused, on a CPU."""

    @property
    def total(self) -> int:
        """Bytes at the peak: when the backward pass starts, or when it ends with all gradients."""
        held = self.weights + self.optimizer
        return held + max(self.activations + self.head + self.heap, self.gradients)

    def to_dict(self) -> dict[str, int]:
        """Return the bytes by purpose, and the total."""
        names = ("weights", "gradients", "optimizer", "activations", "head", "heap", "total")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class StepWorkload:
    """The largest batch of a run, and the kernels and processes that compute it."""

    positions: int
    """Positions of the batch, padding included."""
    scored: int
    """Positions that reach the head."""
    rows: int = 1
    """Rows of the batch; each has its own states."""
    backend: str = "native"
    """Kernels, as `choose_backend` returns."""
    has_amx: bool = False
    """Whether the native library multiplies bfloat16 matrices in tiles."""
    device: str = "cpu"
    """"cpu", "cuda" or "mps"; the head's chunks are larger on the last two."""
    num_shards: int = 1
    """Processes over which the parameters are sharded."""

    def scaled(self, factor: float) -> "StepWorkload":
        """Return the workload with a batch of another size."""
        return replace(
            self,
            positions=max(1, int(self.positions * factor)),
            scored=max(1, int(self.scored * factor)),
            rows=max(1, int(self.rows * factor)),
        )


def estimate_memory(
    model: ModelConfig, config: TrainingConfig, workload: StepWorkload
) -> MemoryEstimate:
    """Estimate the peak memory of one training step, besides the program itself.

    Args:
        model: Sizes of the model.
        config: Precision, activation checkpointing, optimizer and gradient accumulation.
        workload: The largest batch.
    """
    num_shards = workload.num_shards
    parameters = count_parameters(model)
    is_bfloat16 = config.hardware.precision == "bfloat16"
    if _kernel(config, workload) == "tiles":  # copies exist of one matrix per layer
        rounded = model.num_layers * model.dim**2
    else:
        rounded = parameters - 2 * model.vocab_size * model.dim
    copies = 2 * rounded if is_bfloat16 and not config.hardware.activation_checkpointing else 0
    gradients = 4 * parameters // num_shards
    layers = _activations(model, config, workload)
    return MemoryEstimate(
        weights=(4 * parameters + copies) // num_shards,
        gradients=gradients,
        optimizer=int(_OPTIMIZER_BYTES[config.optimizer.optimizer] * parameters / num_shards),
        activations=layers + (gradients if config.optimizer.gradient_accumulation_steps > 1 else 0),
        head=_head(model, workload, is_bfloat16=is_bfloat16),
        heap=_heap(model, config, workload, gradients) if workload.device == "cpu" else 0,
    )


def _kernel(config: TrainingConfig, workload: StepWorkload) -> str:
    """Return the kernels as `_SAVED_BYTES` names them."""
    if (
        workload.backend == "native"
        and workload.has_amx
        and config.hardware.precision == "bfloat16"
    ):
        return "tiles"
    return "chunked" if workload.backend == "chunked" else "native"


def _activations(model: ModelConfig, config: TrainingConfig, workload: StepWorkload) -> int:
    saved = _SAVED_BYTES[_kernel(config, workload), config.hardware.precision]
    low_rank_dim = (
        model.decay_low_rank_dim
        + model.a_low_rank_dim
        + model.v_low_rank_dim
        + model.gate_low_rank_dim
    )
    layer = saved.per_channel * model.dim + saved.per_low_rank_channel * low_rank_dim
    if model.dropout:
        layer += saved.per_dropout_channel * model.dim
    backward = _BACKWARD_BYTES * model.dim
    states = 4 * model.head_size * model.dim * workload.rows * model.num_layers
    outside = _OUTSIDE_BYTES[config.hardware.activation_checkpointing] * model.dim
    if config.hardware.activation_checkpointing:
        per_token = _INPUT_BYTES * model.dim * model.num_layers + layer + backward + outside
    else:
        per_token = layer * model.num_layers + backward + outside
    return int(per_token * workload.positions) + states


def _heap(
    model: ModelConfig, config: TrainingConfig, workload: StepWorkload, gradients: int
) -> int:
    product = "tiles" if _kernel(config, workload) == "tiles" else config.hardware.precision
    per_channel, fraction = _HEAP_LOSS[product, config.hardware.activation_checkpointing]
    lost = int(per_channel * model.dim * model.num_layers * workload.positions)
    if config.optimizer.gradient_accumulation_steps > 1:
        return lost  # the gradients are counted with the activations
    return lost + int(fraction * gradients)


def _head(model: ModelConfig, workload: StepWorkload, *, is_bfloat16: bool) -> int:
    chunk = min(workload.scored, chunk_of_logits(model.vocab_size, workload.device))
    logits = 2 * 4 * chunk * model.vocab_size
    rows = 2 * 4 * workload.scored * model.dim
    weight = (6 if is_bfloat16 else 4) * model.vocab_size * model.dim
    return logits + rows + weight


@lru_cache(maxsize=64)
def _parameters(
    vocab_size: int, num_layers: int, dim: int, low_rank_dims: tuple[int, int, int, int]
) -> int:
    decay, rate, value, gate = low_rank_dims
    sizes = ModelConfig(
        vocab_size=vocab_size, num_layers=num_layers, dim=dim,
        decay_low_rank_dim=decay, a_low_rank_dim=rate, v_low_rank_dim=value, gate_low_rank_dim=gate,
    )  # fmt: skip
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in RWKV7(sizes).parameters())


def count_parameters(model: ModelConfig) -> int:
    """Return the number of trained parameters, without allocating them."""
    low_rank_dims = (
        model.decay_low_rank_dim,
        model.a_low_rank_dim,
        model.v_low_rank_dim,
        model.gate_low_rank_dim,
    )
    return _parameters(model.vocab_size, model.num_layers, model.dim, low_rank_dims)


def free_memory(device: str) -> int:
    """Return the bytes that are free on a device.

    Args:
        device: "cpu", "cuda" or "mps".
    """
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    if device == "mps":
        limit = torch.mps.recommended_max_memory()
        return int(limit - torch.mps.driver_allocated_memory())
    return int(psutil.virtual_memory().available)
