"""Checks of a stored training state before any of its tensors is used.

Fused optimizers read and write as many values as a parameter has: a moment of another shape would
let them run past the end of its memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rwkv_music.errors import CheckpointError
from rwkv_music.model import RWKV7, ModelState
from rwkv_music.training.distributed.train_state import CARRIED, OPTIMIZER, RANDOM

_Layout = tuple[tuple[int, ...], tuple[torch.dtype, ...]]
_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@dataclass(frozen=True, kw_only=True)
class StateLayout:
    """The tensors that a training state must consist of."""

    optimizer: str
    """"adamw" or "adafactor"."""
    carried_rows: int | None
    """Rows of the carried state; None if no state is carried."""

    def require(self, tensors: Mapping[str, Tensor], model: RWKV7) -> None:
        """Check names, shapes and dtypes of the tensors of a training state.

        Args:
            tensors: As `TrainState.state_dict` returns them.
            model: The model of the run, not sharded.

        Raises:
            CheckpointError: Names the first tensor that is missing, unknown, or of another layout.
        """
        expected = {
            f"{RANDOM}cpu": (tuple(torch.get_rng_state().shape), (torch.uint8,)),
            **self._of_optimizer(model),
        }
        if self.carried_rows is not None:
            carried = ModelState.zeros(model.config, self.carried_rows).to_tensors()
            for name, part in carried.items():
                expected[f"{CARRIED}{name}"] = (tuple(part.shape), _FLOATS)
        for name, (shape, dtypes) in expected.items():
            if name not in tensors:
                raise CheckpointError(f"its training state lacks the tensor {name}")
            _require_layout(name, tensors[name], shape, dtypes)
        for name in tensors.keys() - expected.keys():
            if name not in {f"{RANDOM}cuda", f"{RANDOM}mps"}:
                raise CheckpointError(f"its training state has an unknown tensor {name}")
            _require_layout(name, tensors[name], (tensors[name].numel(),), (torch.uint8,))

    def _of_optimizer(self, model: RWKV7) -> dict[str, _Layout]:
        layouts: dict[str, _Layout] = {}
        for name, parameter in model.named_parameters():
            shape, dtype = tuple(parameter.shape), (parameter.dtype,)
            layouts[f"{OPTIMIZER}{name}/step"] = ((), (torch.float32,))
            if self.optimizer == "adamw":
                layouts[f"{OPTIMIZER}{name}/exp_avg"] = (shape, dtype)
                layouts[f"{OPTIMIZER}{name}/exp_avg_sq"] = (shape, dtype)
            elif len(shape) > 1:
                layouts[f"{OPTIMIZER}{name}/row_var"] = ((*shape[:-1], 1), dtype)
                layouts[f"{OPTIMIZER}{name}/col_var"] = ((*shape[:-2], 1, shape[-1]), dtype)
            else:
                layouts[f"{OPTIMIZER}{name}/variance"] = (shape, dtype)
        return layouts


def _require_layout(
    name: str, tensor: Tensor, shape: tuple[int, ...], dtypes: tuple[torch.dtype, ...]
) -> None:
    if tuple(tensor.shape) != shape:
        raise CheckpointError(
            f"its tensor {name} has the shape {list(tensor.shape)}, expected {list(shape)}"
        )
    if tensor.dtype not in dtypes:
        raise CheckpointError(f"its tensor {name} has the dtype {tensor.dtype}")
