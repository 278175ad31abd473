"""The native pass behind `products`, as a torch operator with its backward."""

import ctypes
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rwkv_music.native import load_library
from rwkv_music.ops.checks import check_shape
from rwkv_music.ops.tensor_arguments import address

MULTIPLE = 32
"""Every width must be a multiple of it."""
ACTIVATIONS = ("identity", "squared_relu", "tanh", "sigmoid")
"""Functions between two matrices, as products.h counts them."""
NO_SECOND = -1
"""In place of such a number, where there is one matrix only."""


class _Weight(ctypes.Structure):
    _fields_: ClassVar = [
        ("data", ctypes.c_void_p),
        ("row", ctypes.c_int64),
        ("column", ctypes.c_int64),
    ]


class _Product(ctypes.Structure):
    _fields_: ClassVar = [
        *((name, ctypes.c_int64) for name in ("inputs", "hidden", "outputs", "activation")),
        ("x", ctypes.c_void_p),
        ("first", _Weight),
        ("second", _Weight),
        ("y", ctypes.c_void_p),
    ]


class _Gradients(ctypes.Structure):
    _fields_: ClassVar = [("x", ctypes.c_void_p), ("first", _Weight), ("second", _Weight)]


class _Products(ctypes.Structure):
    _fields_: ClassVar = [
        ("tokens", ctypes.c_int64),
        ("count", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("products", ctypes.POINTER(_Product)),
    ]


class _Backward(ctypes.Structure):
    _fields_: ClassVar = [("forward", _Products), ("gradients", ctypes.POINTER(_Gradients))]


def products_native(
    inputs: Sequence[Tensor],
    firsts: Sequence[Tensor],
    seconds: Sequence[Tensor],
    activations: Sequence[int],
) -> list[Tensor]:
    """Of each input x @ first.T, or f(x @ first.T) @ second.T where there is an activation.

    Args:
        inputs: bfloat16, of as many tokens each.
        firsts: float32; their widths, like all others, multiples of `MULTIPLE`.
        seconds: For those with an activation, in order.
        activations: Places in `ACTIVATIONS`, or `NO_SECOND`.

    Raises:
        InputError: If a shape does not fit.
    """
    for x, first, second in zip(inputs, firsts, _paired(seconds, activations), strict=True):
        check_shape("an input of products", x, *inputs[0].shape[:-1], first.shape[1])
        if second is not None:
            check_shape("a second matrix", second, second.shape[0], first.shape[0])
    found: list[Tensor] = torch.ops.rwkv_music.products(
        [each.contiguous() for each in inputs],
        [_dense(each) for each in firsts],
        [_dense(each) for each in seconds],
        activations,
    )
    return found


def _dense(matrix: Tensor) -> Tensor:
    """With its rows, or its columns, one behind the other."""
    rows, columns = matrix.shape
    is_dense = matrix.stride() in ((columns, 1), (1, rows))
    return matrix if is_dense else matrix.contiguous()


@torch.library.custom_op("rwkv_music::products", mutates_args=(), device_types="cpu")
def _products(
    inputs: Sequence[Tensor],
    firsts: Sequence[Tensor],
    seconds: Sequence[Tensor],
    activations: Sequence[int],
) -> list[Tensor]:
    out = _empty_results(inputs, firsts, seconds, activations)
    arguments = _arguments(inputs, firsts, seconds, activations, out)
    load_library().call("products_forward", arguments)
    return out


def _paired(seconds: Sequence[Tensor], activations: Sequence[int]) -> list[Tensor | None]:
    """The second matrix of each product, if it has one."""
    left = iter(seconds)
    return [None if each == NO_SECOND else next(left) for each in activations]


def _empty_results(
    inputs: Sequence[Tensor],
    firsts: Sequence[Tensor],
    seconds: Sequence[Tensor],
    activations: Sequence[int],
) -> list[Tensor]:
    return [
        x.new_empty(*x.shape[:-1], (first if second is None else second).shape[0])
        for x, first, second in zip(inputs, firsts, _paired(seconds, activations), strict=True)
    ]


@_products.register_fake
def _(
    inputs: Sequence[Tensor], firsts: Sequence[Tensor], seconds: Sequence[Tensor],
    activations: Sequence[int],
) -> list[Tensor]:  # fmt: skip
    return _empty_results(inputs, firsts, seconds, activations)


def _arguments(
    inputs: Sequence[Tensor],
    firsts: Sequence[Tensor],
    seconds: Sequence[Tensor],
    activations: Sequence[int],
    out: Sequence[Tensor],
) -> _Products:
    given = [
        _Product(
            first.shape[1],
            first.shape[0],
            0 if second is None else second.shape[0],
            activation,
            address(x),
            _weight(first),
            _weight(second),
            address(y),
        )
        for x, first, second, activation, y in zip(
            inputs, firsts, _paired(seconds, activations), activations, out, strict=True
        )
    ]
    tokens = inputs[0].numel() // inputs[0].shape[-1]
    return _Products(tokens, len(given), torch.get_num_threads(), (_Product * len(given))(*given))


def _weight(matrix: Tensor | None) -> _Weight:
    return _Weight() if matrix is None else _Weight(matrix.data_ptr(), *matrix.stride())


@torch.library.custom_op("rwkv_music::products_backward", mutates_args=(), device_types="cpu")
def _products_backward(
    gradients: Sequence[Tensor],
    inputs: Sequence[Tensor],
    firsts: Sequence[Tensor],
    seconds: Sequence[Tensor],
    activations: Sequence[int],
    of_matrices: bool,
) -> list[Tensor]:
    """Gradients of the inputs, then, if wanted, of the first and of the second matrices."""
    found = _empty_gradients(inputs, firsts, seconds, of_matrices=of_matrices)
    count = len(inputs)
    d_matrices = found[count:]
    d_firsts: Sequence[Tensor | None] = d_matrices[:count] or [None] * count
    d_seconds = _paired(d_matrices[count:], activations) if of_matrices else [None] * count
    wanted = [
        _Gradients(address(d_x), _weight(d_first), _weight(d_second))
        for d_x, d_first, d_second in zip(found[:count], d_firsts, d_seconds, strict=True)
    ]
    forward = _arguments(inputs, firsts, seconds, activations, gradients)
    load_library().call("products_backward", _Backward(forward, (_Gradients * count)(*wanted)))
    return found


def _empty_gradients(
    inputs: Sequence[Tensor],
    firsts: Sequence[Tensor],
    seconds: Sequence[Tensor],
    *,
    of_matrices: bool,
) -> list[Tensor]:
    wanted = (*inputs, *firsts, *seconds) if of_matrices else inputs
    return [torch.empty_like(each) for each in wanted]  # in the layout of each


@_products_backward.register_fake
def _(
    gradients: Sequence[Tensor], inputs: Sequence[Tensor], firsts: Sequence[Tensor],
    seconds: Sequence[Tensor], activations: Sequence[int], of_matrices: bool,
) -> list[Tensor]:  # fmt: skip
    return _empty_gradients(inputs, firsts, seconds, of_matrices=of_matrices)


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:  # noqa: ANN401
    given, firsts, seconds, ctx.activations = inputs
    ctx.sizes = len(given), len(firsts)
    ctx.of_matrices = any(each.requires_grad for each in (*firsts, *seconds))
    ctx.save_for_backward(*given, *firsts, *seconds)


def _gradients(ctx: Any, gradients: Sequence[Tensor]) -> tuple[Any, ...]:  # noqa: ANN401 - torch's
    inputs, firsts = ctx.sizes
    saved = ctx.saved_tensors
    given = saved[:inputs], saved[inputs : inputs + firsts], saved[inputs + firsts :]
    found = torch.ops.rwkv_music.products_backward(
        [each.contiguous() for each in gradients], *given, ctx.activations, ctx.of_matrices
    )
    if not ctx.of_matrices:
        return found, [None] * firsts, [None] * len(given[2]), None
    return found[:inputs], found[inputs : inputs + firsts], found[inputs + firsts :], None


_products.register_autograd(_gradients, setup_context=_keep_for_backward)
