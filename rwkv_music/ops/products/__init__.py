"""Products of tokens with matrices, several in one call: y = x A^T, or y = f(x A^T) B^T.

PyTorch does each by itself and writes down all that lies between. Where the processor multiplies
bfloat16 in tiles (Intel's AMX, under Linux), one native pass does them all under autocast: what
lies between two matrices stays in the cache, and the matrices are rounded on the way.
`RWKV_MUSIC_NATIVE=avx512` leaves the products to PyTorch.
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
    NO_SECOND,
    products_native,
)
from rwkv_music.ops.recompute import recomputed
from rwkv_music.ops.squared_relu import squared_relu

__all__ = ["Product", "products"]

_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "squared_relu": squared_relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


Matrix = Tensor | nn.Module
"""A matrix, or a layer without bias that holds one: it may have been wrapped, as LoRA does."""


@dataclass(frozen=True)
class Product:
    """Tokens and the matrices they go through."""

    x: Float[Tensor, "B T C"]
    first: Float[Tensor, "F C"] | nn.Module
    second: Float[Tensor, "D F"] | nn.Module | None = None
    activation: str = "identity"
    """What stands between the two matrices: identity, squared_relu, tanh or sigmoid."""


def products(
    wanted: Sequence[Product],
    remade: tuple[Sequence[Tensor], Callable[[], Sequence[Tensor]]] | None = None,
) -> list[Tensor]:
    """The result of each product, [B, T, D]; under autocast in its dtype.

    Args:
        wanted: Their inputs have as many tokens each.
        remade: Inputs, and what makes them again, for `recomputed`. PyTorch's products then do not
            keep them for the backward. Those in tiles do: they keep nothing else, so that there is
            room for what would take a thirtieth of a training step to make again.

    Example:
        >>> x, weight = torch.ones(1, 2, 3), torch.eye(3)
        >>> [plain, squared] = products([Product(x, weight), Product(x, weight, weight, "tanh")])
        >>> torch.equal(plain, x)
        True
    """
    matrices = [each for each in map(_matrices_for_tiles, wanted) if each is not None]
    if len(matrices) < len(wanted) or not all(_is_for_tiles(each.x) for each in wanted):
        with recomputed(*remade) if remade else nullcontext():
            return [_composed(each) for each in wanted]
    return products_native(
        [each.x for each in wanted],
        [first for first, *_ in matrices],
        [second for _, *seconds in matrices for second in seconds],
        [_number(each) for each in wanted],
    )


def _number(product: Product) -> int:
    return NO_SECOND if product.second is None else ACTIVATIONS.index(product.activation)


def _matrices_for_tiles(product: Product) -> list[Tensor] | None:
    """The one or two matrices of a product; None if only PyTorch can take them."""
    given = [product.first] if product.second is None else [product.first, product.second]
    found = [each for each in map(_matrix, given) if each is not None and _fits(each)]
    return found if len(found) == len(given) else None


def _matrix(of: Matrix) -> Tensor | None:
    """The matrix itself; None for a layer that must be called, being wrapped or watched."""
    if isinstance(of, Tensor):
        return of
    # torch has no public question for hooks.
    hooks = (of._forward_hooks, of._forward_pre_hooks, of._backward_hooks, of._backward_pre_hooks)  # noqa: SLF001
    is_plain = type(of) is nn.Linear and len(list(of.parameters())) == 1 and not any(hooks)
    return of.get_parameter("weight") if is_plain else None


def _fits(matrix: Tensor) -> bool:
    return matrix.dtype == torch.float32 and all(size % MULTIPLE == 0 for size in matrix.shape)


def _is_for_tiles(x: Tensor) -> bool:
    """Whether such tokens may go through tiles, where autocast would round the matrices too."""
    return (
        x.dtype == torch.bfloat16
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and choose_backend(x, HEAD_SIZE) == "native"
        and has_amx()
    )


def _composed(product: Product) -> Tensor:
    """The same in PyTorch."""
    hidden = _times(product.x, product.first)
    if product.second is None:
        return hidden
    function = _FUNCTIONS[product.activation]
    active = function(hidden)
    if function is not squared_relu:  # which keeps its argument, while the others keep their value
        return _times(active, product.second)
    with recomputed([active], lambda: [squared_relu(hidden)]):
        return _times(active, product.second)


def _times(x: Tensor, matrix: Matrix) -> Tensor:
    if isinstance(matrix, Tensor):
        return F.linear(x, matrix)
    result: Tensor = matrix(x)
    return result
