"""max(x, 0)^2, the activation of RWKV's channel mixing, in one pass forward and one backward."""

import ctypes
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from jaxtyping import Float
from torch import Tensor

from rwkv_music.native import load_library
from rwkv_music.ops.backends import HEAD_SIZE, choose_backend
from rwkv_music.ops.direct_calls import can_call_directly
from rwkv_music.ops.tensor_arguments import DTYPE_CODES, address


class _Arguments(ctypes.Structure):
    _fields_: ClassVar = [
        ("count", ctypes.c_int64),
        ("type", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("x", "d_out", "out")),
    ]


def squared_relu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return max(x, 0)^2."""
    if choose_backend(x, HEAD_SIZE) == "native":
        if can_call_directly(x):
            return _run(x, None)
        squared: Tensor = torch.ops.rwkv_music.squared_relu(x)
        return squared
    positive = F.relu(x)
    return positive * positive


def _run(x: Tensor, d_out: Tensor | None) -> Tensor:
    x, d_out = x.contiguous(), None if d_out is None else d_out.contiguous()
    out = torch.empty_like(x)
    arguments = _Arguments(
        x.numel(), DTYPE_CODES[x.dtype], torch.get_num_threads(),
        *map(address, (x, d_out, out)),
    )  # fmt: skip
    load_library().call("squared_relu", arguments)
    return out


@torch.library.custom_op("rwkv_music::squared_relu", mutates_args=(), device_types="cpu")
def _squared_relu(x: Tensor) -> Tensor:
    return _run(x, None)


@torch.library.custom_op("rwkv_music::squared_relu_backward", mutates_args=(), device_types="cpu")
def _squared_relu_backward(x: Tensor, d_out: Tensor) -> Tensor:
    return _run(x, d_out)


@_squared_relu.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@_squared_relu_backward.register_fake
def _(x: Tensor, d_out: Tensor) -> Tensor:  # noqa: ARG001
    return x.new_empty(x.shape)


def _keep_for_backward(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ANN401, ARG001
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, d_out: Tensor) -> Tensor:  # noqa: ANN401 - torch's
    gradient: Tensor = torch.ops.rwkv_music.squared_relu_backward(*ctx.saved_tensors, d_out)
    return gradient


_squared_relu.register_autograd(_gradients, setup_context=_keep_for_backward)
