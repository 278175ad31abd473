"""The native implementation of `products`, as a torch operator with its backward."""

import ctypes
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rwkv_music.native import load_library
from rwkv_music.ops.checks import check_shape
from rwkv_music.ops.direct_calls import can_call_directly
from rwkv_music.ops.tensor_arguments import address

MULTIPLE = 32
"""All sizes must be multiples of it."""
ACTIVATIONS = ("identity", "squared_relu", "tanh", "sigmoid")
"""Activation functions between two matrices, by their codes in `products.h`."""
SINGLE_MATRIX = -1
"""Code of a product with one matrix."""


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
    """Return x @ first.T for each input, or f(x @ first.T) @ second.T with an activation.

    Args:
        inputs: bfloat16 tensors with equal numbers of tokens.
        firsts: float32 matrices; all sizes are multiples of `MULTIPLE`.
        seconds: Second matrices of the products that have an activation, in order.
        activations: Indices into `ACTIVATIONS`, or `SINGLE_MATRIX`.

    Raises:
        InputError: If a shape does not match.
    """
    for x, first, second in zip(inputs, firsts, _paired(seconds, activations), strict=True):
        check_shape("an input of products", x, *inputs[0].shape[:-1], first.shape[1])
        if second is not None:
            check_shape("a second matrix", second, second.shape[0], first.shape[0])
    is_direct = can_call_directly(inputs[0])
    run = _products_directly if is_direct else torch.ops.rwkv_music.products
    results: list[Tensor] = run(
        [x.contiguous() for x in inputs],
        [_dense(matrix) for matrix in firsts],
        [_dense(matrix) for matrix in seconds],
        activations,
    )
    return results


def _dense(matrix: Tensor) -> Tensor:
    """Return a matrix with contiguous rows or contiguous columns."""
    rows, columns = matrix.shape
    is_dense = matrix.stride() in ((columns, 1), (1, rows))
    return matrix if is_dense else matrix.contiguous()


def _products_directly(
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
    """Return the second matrix of each product, or None."""
    remaining = iter(seconds)
    return [None if code == SINGLE_MATRIX else next(remaining) for code in activations]


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


_products = torch.library.custom_op("rwkv_music::products", mutates_args=(), device_types="cpu")(
    _products_directly
)


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
    structures = [
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
    return _Products(
        tokens, len(structures), torch.get_num_threads(), (_Product * len(structures))(*structures)
    )


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
    """Return gradients of the inputs and, if requested, of the first and the second matrices."""
    results = _empty_gradients(inputs, firsts, seconds, of_matrices=of_matrices)
    count = len(inputs)
    d_matrices = results[count:]
    d_firsts: Sequence[Tensor | None] = d_matrices[:count] or [None] * count
    d_seconds = _paired(d_matrices[count:], activations) if of_matrices else [None] * count
    structures = [
        _Gradients(address(d_x), _weight(d_first), _weight(d_second))
        for d_x, d_first, d_second in zip(results[:count], d_firsts, d_seconds, strict=True)
    ]
    forward = _arguments(inputs, firsts, seconds, activations, gradients)
    load_library().call("products_backward", _Backward(forward, (_Gradients * count)(*structures)))
    return results


def _empty_gradients(
    inputs: Sequence[Tensor],
    firsts: Sequence[Tensor],
    seconds: Sequence[Tensor],
    *,
    of_matrices: bool,
) -> list[Tensor]:
    tensors = (*inputs, *firsts, *seconds) if of_matrices else inputs
    return [torch.empty_like(x) for x in tensors]  # with the same strides


@_products_backward.register_fake
def _(
    gradients: Sequence[Tensor], inputs: Sequence[Tensor], firsts: Sequence[Tensor],
    seconds: Sequence[Tensor], activations: Sequence[int], of_matrices: bool,
) -> list[Tensor]:  # fmt: skip
    return _empty_gradients(inputs, firsts, seconds, of_matrices=of_matrices)


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:  # noqa: ANN401
    tokens, firsts, seconds, ctx.activations = inputs
    ctx.sizes = len(tokens), len(firsts)
    ctx.of_matrices = any(matrix.requires_grad for matrix in (*firsts, *seconds))
    ctx.save_for_backward(*tokens, *firsts, *seconds)


def _gradients(ctx: Any, gradients: Sequence[Tensor]) -> tuple[Any, ...]:  # noqa: ANN401 - torch's
    inputs, firsts = ctx.sizes
    saved = ctx.saved_tensors
    arguments = saved[:inputs], saved[inputs : inputs + firsts], saved[inputs + firsts :]
    results = torch.ops.rwkv_music.products_backward(
        [x.contiguous() for x in gradients], *arguments, ctx.activations, ctx.of_matrices
    )
    if not ctx.of_matrices:
        return results, [None] * firsts, [None] * len(arguments[2]), None
    return results[:inputs], results[inputs : inputs + firsts], results[inputs + firsts :], None


_products.register_autograd(_gradients, setup_context=_save_for_backward)
