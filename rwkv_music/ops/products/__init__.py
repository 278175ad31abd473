"""Matrix products of tokens, several in one call: y = x A^T, or y = f(x A^T) B^T.

PyTorch computes each separately and stores all intermediate results. On processors with AMX (Intel,
under Linux), one native call computes them all under bfloat16 autocast: intermediate results stay
in the cache, and the matrices are rounded while they are packed. `RWKV_MUSIC_NATIVE=avx512` leaves
the products to PyTorch.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from jaxtyping import Float
from torch import Tensor, nn

from rwkv_music.ops.backends import HEAD_SIZE, choose_backend, has_amx
from rwkv_music.ops.products.native_products import (
    ACTIVATIONS,
    MULTIPLE,
    SINGLE_MATRIX,
    products_native,
)
from rwkv_music.ops.recompute import recomputed
from rwkv_music.ops.squared_relu import squared_relu

__all__ = ["MatrixProduct", "products"]

_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "squared_relu": squared_relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


Matrix = Tensor | nn.Module
"""A matrix, or a linear layer without bias, which may be wrapped, e.g. by LoRA."""


@dataclass(frozen=True)
class MatrixProduct:
    """Tokens, and one or two matrices to multiply them with."""

    x: Float[Tensor, "B T C"]
    first: Float[Tensor, "F C"] | nn.Module
    second: Float[Tensor, "D F"] | nn.Module | None = None
    activation: str = "identity"
    """Function between the two matrices: identity, squared_relu, tanh or sigmoid."""


def products(
    requests: Sequence[MatrixProduct],
    recompute: tuple[Sequence[Tensor], Callable[[], Sequence[Tensor]]] | None = None,
) -> list[Tensor]:
    """Return the result of each product, [B, T, D]; under autocast in its dtype.

    Args:
        requests: The products; their inputs have equal numbers of tokens.
        recompute: Some inputs and a function that returns them again, for `recomputed`: PyTorch's
            products then do not save them for the backward pass. The AMX products save them, since
            they save nothing else, and recomputing would take a thirtieth of a training step.

    Example:
        >>> x, weight = torch.ones(1, 2, 3), torch.eye(3)
        >>> pair = [MatrixProduct(x, weight), MatrixProduct(x, weight, weight, "tanh")]
        >>> torch.equal(products(pair)[0], x)
        True
    """
    matrices = [pair for pair in map(_matrices_for_amx, requests) if pair is not None]
    if len(matrices) < len(requests) or not all(_fits_amx(request.x) for request in requests):
        with recomputed(*recompute) if recompute else nullcontext():
            return [_in_pytorch(request) for request in requests]
    return products_native(
        [request.x for request in requests],
        [first for first, *_ in matrices],
        [second for _, *seconds in matrices for second in seconds],
        [_activation_code(request) for request in requests],
    )


def _activation_code(product: MatrixProduct) -> int:
    return SINGLE_MATRIX if product.second is None else ACTIVATIONS.index(product.activation)


def _matrices_for_amx(product: MatrixProduct) -> list[Tensor] | None:
    """Return the one or two matrices of a product, or None if only PyTorch can take them."""
    layers = [product.first] if product.second is None else [product.first, product.second]
    matrices = [matrix for matrix in map(_matrix, layers) if matrix is not None and _fits(matrix)]
    return matrices if len(matrices) == len(layers) else None


def _matrix(layer: Matrix) -> Tensor | None:
    """Return the matrix, or None for a layer that must be called: one with a wrapper or hooks."""
    if isinstance(layer, Tensor):
        return layer
    # torch has no public function for hooks.
    hooks = (
        layer._forward_hooks, layer._forward_pre_hooks,  # noqa: SLF001
        layer._backward_hooks, layer._backward_pre_hooks,  # noqa: SLF001
    )  # fmt: skip
    is_plain = type(layer) is nn.Linear and len(list(layer.parameters())) == 1 and not any(hooks)
    return layer.get_parameter("weight") if is_plain else None


def _fits(matrix: Tensor) -> bool:
    return matrix.dtype == torch.float32 and all(size % MULTIPLE == 0 for size in matrix.shape)


def _fits_amx(x: Tensor) -> bool:
    """Return whether AMX can take such tokens: autocast to bfloat16 rounds the matrices as well."""
    return (
        x.dtype == torch.bfloat16
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and choose_backend(x, HEAD_SIZE) == "native"
        and has_amx()
    )


def _in_pytorch(product: MatrixProduct) -> Tensor:
    """Compute a product in PyTorch."""
    hidden = _times(product.x, product.first)
    if product.second is None:
        return hidden
    function = _FUNCTIONS[product.activation]
    active = function(hidden)
    if function is not squared_relu:  # which saves its argument; the others save their value
        return _times(active, product.second)
    with recomputed([active], lambda: [squared_relu(hidden)]):
        return _times(active, product.second)


def _times(x: Tensor, matrix: Matrix) -> Tensor:
    if isinstance(matrix, Tensor):
        return F.linear(x, matrix)
    result: Tensor = matrix(x)
    return result
