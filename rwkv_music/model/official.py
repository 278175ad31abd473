"""Read and write the official `.pth` of RWKV-7 (x070).

Names and shapes are those of RWKV-LM's trainer, which this project uses too. A .pth contains
neither sizes nor tokenizer settings: sizes are read from the shapes, settings are arguments.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from rwkv_music.errors import CheckpointError, InputError
from rwkv_music.model.foreign_files import likely_cause
from rwkv_music.model.initialization import unused_value_branch, without_weights
from rwkv_music.model.model_config import ModelConfig
from rwkv_music.model.music_model import MusicModel
from rwkv_music.model.tensor_files import check_numbers, check_sizes, read_tensors, write_tensors

_READ = (torch.bfloat16, torch.float16, torch.float32)
_WRITTEN = (torch.bfloat16, torch.float32)
_UNUSED = tuple(f"blocks.0.att.{name}" for name in ("v0", "v1", "v2"))
"""Layer 0 provides the value that later layers mix in; it has no value residual of its own."""

_SIZE_TENSORS = {
    "emb.weight": "[V, C]",
    "blocks.0.att.r_k": "[H, N]",
    "blocks.0.att.w1": "[C, D]",
    "blocks.0.att.a1": "[C, D]",
    "blocks.0.att.g1": "[C, D]",
}


def load_pth(
    path: str | Path, *, tokenizer_settings: Mapping[str, int] | None = None
) -> MusicModel:
    """Read an official RWKV-7 file, in float32 and evaluation mode.

    Args:
        path: A .pth of bfloat16, float16 or float32 weights.
        tokenizer_settings: `Tokenizer.settings` of the tokenizer that the model was trained with;
            None if unknown, since the file does not contain them.

    Returns:
        The model, with the vocabulary, layers, dim, head size and low-rank dims of the file.

    Raises:
        CheckpointError: If the file is missing, damaged, contains code or a NaN, or is no RWKV-7
            model. The message names the first tensor that differs, its shape and the expected one.
    """
    path = Path(path)
    weights = read_tensors(path)
    config = _read_config(path, weights)
    check_sizes(path, config, weights)
    network = without_weights(config)
    expected = {name: value.shape for name, value in network.state_dict().items()}
    _check(path, expected, weights)
    check_numbers(path, weights)
    network.load_state_dict(
        {
            name: weights.pop(name).to(torch.float32, copy=True).reshape(shape)
            for name, shape in expected.items()
        },
        assign=True,
    )
    settings = None if tokenizer_settings is None else dict(tokenizer_settings)
    return MusicModel(network.eval(), settings)


def save_pth(
    model: MusicModel,
    path: str | Path,
    *,
    dtype: torch.dtype = torch.bfloat16,
    block_0_value: bool = True,
) -> Path:
    """Write a model in the format of RWKV-LM's trainer, which the `rwkv` package reads as well.

    Args:
        model: The model to write; the file does not contain its tokenizer settings.
        path: Must end in .pth, since the `rwkv` package takes the name without that ending.
        dtype: Dtype of the stored weights, torch.bfloat16 or torch.float32.
        block_0_value: Whether to add layer 0's v0, v1 and v2, at their initial values. No forward
            pass uses them, but the official trainer refuses a file without them.

    Raises:
        InputError: If the ending or the dtype is another.
        CheckpointError: If the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".pth":
        raise InputError(f"an official checkpoint ends in .pth, got '{path.name}': rename it")
    if dtype not in _WRITTEN:
        raise InputError(f"dtype must be torch.bfloat16 or torch.float32, got {dtype}")
    weights = dict(model.network.state_dict())
    if block_0_value:
        weights |= zip(_UNUSED, unused_value_branch(model.config), strict=True)
    return write_tensors({name: value.to(dtype) for name, value in weights.items()}, path)


def _read_config(path: Path, weights: Mapping[str, Tensor]) -> ModelConfig:
    for name, expected in _SIZE_TENSORS.items():
        if name not in weights or weights[name].ndim != 2:
            raise _differs(path, name, weights, expected)
    vocab_size, dim = weights["emb.weight"].shape
    heads, head_size = weights["blocks.0.att.r_k"].shape
    if heads * head_size != dim:
        raise CheckpointError(
            f"{path}: blocks.0.att.r_k is {[heads, head_size]}, expected [H, N] with H * N = "
            f"{dim}, the dim of emb.weight: dim must be a multiple of the head size, which "
            "is 64 in official files"
        )
    layers = {name.split(".")[1] for name in weights if name.startswith("blocks.")}
    # The first layer's value branch is unused and may be absent; a model of one layer has no other.
    value = weights.get("blocks.1.att.v1", weights.get("blocks.0.att.v1"))
    try:
        return ModelConfig(
            vocab_size=vocab_size,
            num_layers=len(layers),
            dim=dim,
            head_size=head_size,
            decay_low_rank_dim=weights["blocks.0.att.w1"].shape[1],
            a_low_rank_dim=weights["blocks.0.att.a1"].shape[1],
            v_low_rank_dim=value.shape[1] if value is not None and value.ndim == 2 else 0,
            gate_low_rank_dim=weights["blocks.0.att.g1"].shape[1],
        )
    except InputError as error:
        raise CheckpointError(f"{path} is not an RWKV-7 model: its {error}") from error


def _check(path: Path, expected: Mapping[str, torch.Size], weights: Mapping[str, Tensor]) -> None:
    for name, shape in expected.items():
        if name not in weights or _without_ones(weights[name].shape) != _without_ones(shape):
            raise _differs(path, name, weights, str(list(shape)))
        if weights[name].dtype not in _READ:
            raise CheckpointError(
                f"{path}: {name} is stored as {weights[name].dtype}, expected bfloat16, float16 or "
                "float32: use the file from before it was quantized"
            )
    for name, value in weights.items():
        if name not in expected and name not in _UNUSED:
            raise CheckpointError(
                f"{path}: {name} is {list(value.shape)}, expected no such tensor: "
                f"{likely_cause(weights)}"
            )


def _without_ones(shape: torch.Size) -> list[int]:
    """Return a shape without its ones: vectors are stored as [C] or as [1, 1, C]."""
    return [size for size in shape if size != 1]


def _differs(
    path: Path, name: str, weights: Mapping[str, Tensor], expected: str
) -> CheckpointError:
    actual = str(list(weights[name].shape)) if name in weights else "missing"
    return CheckpointError(
        f"{path}: {name} is {actual}, expected {expected}: {likely_cause(weights)}"
    )
