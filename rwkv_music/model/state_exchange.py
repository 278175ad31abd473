"""States in the forms other RWKV programs use: tuned state files and the `rwkv` package's list."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from rwkv_music.errors import CheckpointError, InputError
from rwkv_music.model.model_config import ModelConfig
from rwkv_music.model.state import LayerState, ModelState
from rwkv_music.model.tensor_files import read_tensors, write_tensors

_NAME = "blocks.{}.att.time_state"


def load_state(path: str | Path, config: ModelConfig) -> ModelState:
    """Read a tuned initial state, as RWKV-PEFT writes it.

    The file holds one [H, N, N] matrix per layer, rows for values and columns for keys: RWKV-PEFT's
    kernels for RWKV-7 read it so, and so does this. Demos that transpose it are of RWKV-6's time.

    Args:
        path: A .pth of `blocks.0.att.time_state` and so on; other tensors beside them are left.
        config: Sizes of the model the state was tuned for.

    Returns:
        The state of one sequence, in float32, with shifts of zero; `state.select([0] * B)` repeats
        it for a batch of B.

    Raises:
        CheckpointError: If the file is missing, damaged, no state, or of another model.
    """
    path = Path(path)
    stored = read_tensors(path)
    stored = {name: value for name, value in stored.items() if name.endswith("att.time_state")}
    if not stored:
        raise CheckpointError(
            f"{path} holds no {_NAME.format(0)}: it is no state file; a model is read with "
            "load_model"
        )
    shape = [config.num_heads, config.head_size, config.head_size]
    expected = [_NAME.format(layer) for layer in range(config.num_layers)]
    for name in [*expected, *stored]:
        found = list(stored[name].shape) if name in stored else "missing"
        wanted = shape if name in expected else "no such tensor"
        if found != wanted:
            raise CheckpointError(
                f"{path}: {name} is {found}, expected {wanted}: the state belongs to a model of "
                "other sizes; give that model's config"
            )
        if not stored[name].is_floating_point():
            raise CheckpointError(
                f"{path}: {name} is stored as {stored[name].dtype}, expected floating-point "
                "numbers: save it again from where it was tuned"
            )
    shift = torch.zeros(1, config.dim)
    matrices = (stored[name].to(torch.float32, copy=True) for name in expected)
    return ModelState(tuple(LayerState(shift, each.unsqueeze(0), shift) for each in matrices))


def save_state(state: ModelState, path: str | Path) -> Path:
    """Write an initial state in the form of RWKV-PEFT, in float32.

    Args:
        state: Of one sequence, before its first token: the form has no place for token shifts.
        path: Ends in .pth by custom.

    Raises:
        InputError: If the state is of several sequences or its shifts are not zero.
        CheckpointError: If the place cannot be written to.
    """
    _check_alone(state)
    if any(layer.time_shift.any() or layer.channel_shift.any() for layer in state.layers):
        raise InputError(
            "a state file has no place for token shifts, and this state's are not zero: drop them "
            "with state.without_shifts(), or keep all of it with torch.save(state_to_list(state))"
        )
    matrices = {
        _NAME.format(place): layer.wkv[0].float() for place, layer in enumerate(state.layers)
    }
    return write_tensors(matrices, Path(path))


def state_to_list(state: ModelState, *, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """The state as the `rwkv` package passes it around.

    Args:
        state: Of one sequence.
        dtype: Of the shifts: what the package's strategy says, e.g. torch.float16 for "cuda fp16".

    Returns:
        Per layer the time mixing's shift [C], the WKV matrices [H, N, N] in float32 (values by
        keys), and the channel mixing's shift [C]. They are copies, since the package writes into
        the list and, on a GPU, into the matrices.

    Raises:
        InputError: If the state is of several sequences.
    """
    _check_alone(state)
    return [
        part[0].detach().to(kind, copy=True)
        for layer in state.layers
        for part, kind in (
            (layer.time_shift, dtype),
            (layer.wkv, torch.float32),
            (layer.channel_shift, dtype),
        )
    ]


def state_from_list(values: Sequence[Tensor], config: ModelConfig) -> ModelState:
    """The state of one sequence from the `rwkv` package's list; see `state_to_list`.

    Args:
        values: Three tensors per layer. They are copied.
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
    for place, value in enumerate(values):
        wanted = matrix if place % 3 == 1 else [config.dim]
        if list(value.shape) != wanted:
            raise InputError(
                f"tensor {place} of the state is {list(value.shape)}, expected {wanted}: it "
                "belongs to another model"
            )
    copies = [value.detach().to(torch.float32, copy=True).unsqueeze(0) for value in values]
    return ModelState(
        tuple(LayerState(*copies[place : place + 3]) for place in range(0, len(copies), 3))
    )


def _check_alone(state: ModelState) -> None:
    batch = len(state.layers[0].wkv)
    if batch != 1:
        raise InputError(
            f"this form holds the state of one sequence, got {batch}: choose one, as in "
            "state.select([0])"
        )
