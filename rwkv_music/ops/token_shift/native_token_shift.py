"""The native implementation of `token_shift`, as a torch operator with its backward."""

import ctypes
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.native import load_library
from rwkv_music.ops.checks import check_shape
from rwkv_music.ops.direct_calls import can_call_directly
from rwkv_music.ops.tensor_arguments import DTYPE_CODES, address, contiguous

MAX_MIXES = 6
_TOKENS_PER_TASK = 32
"""As in `token_shift.h`."""


class _Forward(ctypes.Structure):
    _fields_: ClassVar = [
        *((name, ctypes.c_int64) for name in ("batch", "steps", "channels")),
        *((name, ctypes.c_int32) for name in ("num_mixes", "type_in", "type_out", "threads")),
        *(
            (name, ctypes.c_void_p)
            for name in ("x", "weight", "bias", "mixes", "before", "resets", "last")
        ),
        ("out", ctypes.c_void_p * MAX_MIXES),
    ]


class _Backward(ctypes.Structure):
    _fields_: ClassVar = [
        ("forward", _Forward),
        *((name, ctypes.c_void_p) for name in ("d_last", "d_x", "d_parameters", "d_before")),
    ]


def token_shift_native(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mixes: Sequence[Tensor],
    before: Tensor,
    resets: Tensor | None,
) -> tuple[list[Tensor], Tensor]:
    """See `token_shift`.

    Raises:
        InputError: If a shape does not match, or there are more than 6 mixes.
    """
    batch, steps, channels = x.shape
    if len(mixes) > MAX_MIXES:
        raise InputError(f"token_shift takes at most {MAX_MIXES} mixes, got {len(mixes)}")
    for name, vector in (("weight", weight), ("bias", bias), *(("a mix", mix) for mix in mixes)):
        check_shape(name, vector, channels)
    check_shape("before", before, batch, channels)
    check_shape("resets", resets, batch, steps)
    compute_dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    out_type = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    if x.dtype != torch.float32:
        out_type = x.dtype
    run = _token_shift_directly if can_call_directly(x) else torch.ops.rwkv_music.token_shift
    *out, last = run(
        x.contiguous(),
        weight.to(compute_dtype),
        bias.to(compute_dtype),
        torch.stack([mix.to(compute_dtype) for mix in mixes]),
        before.to(compute_dtype).contiguous(),
        contiguous(resets),
        out_type,
    )
    return out, last


def _token_shift_directly(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mixes: Tensor,
    before: Tensor,
    resets: Tensor | None,
    out_type: torch.dtype,
) -> list[Tensor]:
    """Return one tensor per mix, and the last normalized token."""
    results = _empty_results(x, mixes, before, out_type)
    *out, last = results
    arguments = _forward_arguments(x, weight, bias, mixes, before, resets, last, out)
    load_library().call("token_shift_forward", arguments)
    return results


def _empty_results(x: Tensor, mixes: Tensor, before: Tensor, out_type: torch.dtype) -> list[Tensor]:
    out = [x.new_empty(x.shape, dtype=out_type) for _ in range(mixes.shape[0])]
    return [*out, torch.empty_like(before)]


def _forward_arguments(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mixes: Tensor,
    before: Tensor,
    resets: Tensor | None,
    last: Tensor | None,
    out: Sequence[Tensor],
) -> _Forward:
    return _Forward(
        *x.shape,
        len(out),
        DTYPE_CODES[x.dtype],
        DTYPE_CODES[out[0].dtype],
        torch.get_num_threads(),
        *map(address, (x, weight, bias, mixes, before, resets, last)),
        (ctypes.c_void_p * MAX_MIXES)(*map(address, out)),
    )


_token_shift = torch.library.custom_op(
    "rwkv_music::token_shift", mutates_args=(), device_types="cpu"
)(_token_shift_directly)


@_token_shift.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor, mixes: Tensor, before: Tensor,
    resets: Tensor | None, out_type: torch.dtype,
) -> list[Tensor]:  # fmt: skip
    return _empty_results(x, mixes, before, out_type)


@torch.library.custom_op("rwkv_music::token_shift_backward", mutates_args=(), device_types="cpu")
def _token_shift_backward(
    d_out: Sequence[Tensor],
    d_last: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mixes: Tensor,
    before: Tensor,
    resets: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return gradients of x, of weight, bias and mixes in one tensor, and of `before`."""
    d_x, partial_sums, d_before = _empty_gradients(x, mixes, before)
    d_out = [x.contiguous() for x in d_out]
    d_last = d_last.contiguous()
    arguments = _Backward(
        _forward_arguments(x, weight, bias, mixes, before, resets, None, d_out),
        *map(address, (d_last, d_x, partial_sums, d_before)),
    )
    load_library().call("token_shift_backward", arguments)
    return d_x, partial_sums.sum(0), d_before


def _empty_gradients(x: Tensor, mixes: Tensor, before: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    batch, steps, channels = x.shape
    tasks = batch * -(-steps // _TOKENS_PER_TASK)
    partial_sums = mixes.new_empty(tasks, 2 + mixes.shape[0], channels)
    return torch.empty_like(x), partial_sums, torch.empty_like(before)


@_token_shift_backward.register_fake
def _(
    d_out: Sequence[Tensor], d_last: Tensor, x: Tensor, weight: Tensor, bias: Tensor,
    mixes: Tensor, before: Tensor, resets: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    d_x, partial_sums, d_before = _empty_gradients(x, mixes, before)
    return d_x, partial_sums.sum(0), d_before


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:  # noqa: ANN401
    *tensors, _ = inputs
    ctx.save_for_backward(*tensors)


def _gradients(ctx: Any, gradients: Sequence[Tensor]) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    *d_out, d_last = gradients
    d_x, d_parameters, d_before = torch.ops.rwkv_music.token_shift_backward(
        d_out, d_last, *ctx.saved_tensors
    )
    return d_x, d_parameters[0], d_parameters[1], d_parameters[2:], d_before, None, None


_token_shift.register_autograd(_gradients, setup_context=_save_for_backward)
