"""States in the formats of other RWKV programs: tuned state files, the `rwkv` package's list."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from rwkv_music.errors import CheckpointError, InputError
from rwkv_music.model.model_config import ModelConfig
from rwkv_music.model.state import LayerState, ModelState
from rwkv_music.model.tensor_files import check_numbers, read_tensors, write_tensors

_NAME = "blocks.{}.att.time_state"


def load_state(path: str | Path, config: ModelConfig) -> ModelState:
    """Read a tuned initial state in the format of RWKV-PEFT.

    The file holds one [H, N, N] matrix per layer, rows for values and columns for keys, as
    RWKV-PEFT's kernels for RWKV-7 read it. Demos that transpose it are for RWKV-6.

    Args:
        path: A .pth with `blocks.0.att.time_state` and so on; other tensors in it are ignored.
        config: Sizes of the model the state was tuned for.

    Returns:
        The state of one sequence, in float32, with shifts of zero; `state.select([0] * B)` repeats
        it for a batch of B.

    Raises:
        CheckpointError: If the file is missing, damaged, not a state, of another model, or holds a
            NaN.
    """
    path = Path(path)
    stored = read_tensors(path)
    stored = {name: value for name, value in stored.items() if name.endswith("att.time_state")}
    if not stored:
        raise CheckpointError(
            f"{path} has no tensor {_NAME.format(0)}: it is not a state file; load a model with "
            "load_model"
        )
    shape = [config.num_heads, config.head_size, config.head_size]
    expected = [_NAME.format(layer) for layer in range(config.num_layers)]
    for name in [*expected, *stored]:
        actual = list(stored[name].shape) if name in stored else "missing"
        required = shape if name in expected else "no such tensor"
        if actual != required:
            raise CheckpointError(
                f"{path}: {name} is {actual}, expected {required}: the state belongs to a model of "
                "other sizes; give that model's config"
            )
    check_numbers(path, stored)
    shift = torch.zeros(1, config.dim)
    matrices = (stored[name].to(torch.float32, copy=True) for name in expected)
    return ModelState(tuple(LayerState(shift, matrix.unsqueeze(0), shift) for matrix in matrices))


def save_state(state: ModelState, path: str | Path) -> Path:
    """Write an initial state in the format of RWKV-PEFT, in float32.

    Args:
        state: State of one sequence before its first token. The format has no token shifts.
        path: The file to write; ends in .pth by convention.

    Raises:
        InputError: If the state is of several sequences or its shifts are not zero.
        CheckpointError: If the file cannot be written.
    """
    _check_single(state)
    if any(layer.time_shift.any() or layer.channel_shift.any() for layer in state.layers):
        raise InputError(
            "a state file has no place for token shifts, but this state has some: drop them with "
            "state.without_shifts(), or save all of it with torch.save(state_to_list(state))"
        )
    matrices = {
        _NAME.format(index): layer.wkv[0].float() for index, layer in enumerate(state.layers)
    }
    return write_tensors(matrices, Path(path))


def state_to_list(state: ModelState, *, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return the state as the list of tensors that the `rwkv` package uses.

    Args:
        state: State of one sequence.
        dtype: Dtype of the shifts, that of the package's strategy: torch.float16 for "cuda fp16".

    Returns:
        Per layer the time mixing's shift [C], the WKV matrices [H, N, N] in float32 (values by
        keys), and the channel mixing's shift [C]. They are copies, because the package writes into
        the list and, on a GPU, into the matrices.

    Raises:
        InputError: If the state is of several sequences.
    """
    _check_single(state)
    return [
        part[0].detach().to(expected_type, copy=True)
        for layer in state.layers
        for part, expected_type in (
            (layer.time_shift, dtype),
            (layer.wkv, torch.float32),
            (layer.channel_shift, dtype),
        )
    ]


def state_from_list(values: Sequence[Tensor], config: ModelConfig) -> ModelState:
    """Return the state of one sequence from the `rwkv` package's list; see `state_to_list`.

    Args:
        values: Three tensors per layer; they are copied.
        config: Sizes of the model.

    Raises:
        InputError: If the list has another length or a tensor another shape.
    """
    if len(values) != 3 * config.num_layers:
        raise InputError(
            f"a state of {config.num_layers} layers is a list of {3 * config.num_layers} tensors, "
            f"got {len(values)}: it belongs to another model"
        )
    matrix = [config.num_heads, config.head_size, config.head_size]
    for index, value in enumerate(values):
        expected = matrix if index % 3 == 1 else [config.dim]
        if list(value.shape) != expected:
            raise InputError(
                f"tensor {index} of the state is {list(value.shape)}, expected {expected}: it "
                "belongs to another model"
            )
    copies = [value.detach().to(torch.float32, copy=True).unsqueeze(0) for value in values]
    return ModelState(
        tuple(LayerState(*copies[first : first + 3]) for first in range(0, len(copies), 3))
    )


def _check_single(state: ModelState) -> None:
    batch = len(state.layers[0].wkv)
    if batch != 1:
        raise InputError(
            f"this format holds the state of one sequence, got {batch}: select one, as in "
            "state.select([0])"
        )
