"""Recomputation of cheap tensors in the backward pass instead of saving them.

A matrix product saves its input for the backward pass. If that input is much cheaper to compute
than the product, as RWKV's token-shift mixtures are, recomputing it saves a third of a layer's
memory.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_DISABLED = ContextVar("_DISABLED", default=False)
_Packed = Tensor | tuple[int, tuple[int, ...], tuple[int, ...], int]


@contextmanager
def recomputed(
    tensors: Sequence[Tensor], recompute: Callable[[], Sequence[Tensor]]
) -> Iterator[None]:
    """Do not save `tensors` for the backward pass of operators in the block; recompute them.

    Does nothing without gradients, while torch compiles, and inside `recompute_disabled`.

    Args:
        tensors: Contiguous tensors, as `recompute` returns them.
        recompute: Returns equal tensors, bit for bit. Called without gradients, at most once per
            backward pass.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or _DISABLED.get():
        yield
        return
    hooks = _RecomputeHooks(tensors, recompute)
    with torch.autograd.graph.saved_tensors_hooks(hooks.pack, hooks.unpack):
        yield


@contextmanager
def recompute_disabled() -> Iterator[None]:
    """Disable `recomputed` inside a `with` block.

    Activation checkpointing uses it: it recomputes the whole block, so the inputs that `recomputed`
    needs should not stay in memory.
    """
    before = _DISABLED.set(True)
    try:
        yield
    finally:
        _DISABLED.reset(before)


class _RecomputeHooks:
    """Packs a tensor as its index and layout, and recomputes all tensors at the first unpacking."""

    def __init__(
        self, tensors: Sequence[Tensor], recompute: Callable[[], Sequence[Tensor]]
    ) -> None:
        device = tensors[0].device.type
        # The backward pass runs outside autocast, which affects the recomputed values.
        self._autocast = torch.autocast(
            device,
            dtype=torch.get_autocast_dtype(device),
            enabled=torch.is_autocast_enabled(device),
        )
        self._indices = {x.data_ptr(): index for index, x in enumerate(tensors)}
        self._recompute = recompute
        self._uses = 0
        self._uses_left = 0
        self._recomputed: Sequence[Tensor] = ()

    def pack(self, tensor: Tensor) -> _Packed:
        """Return the index and layout of a tensor of the block, or any other tensor unchanged."""
        index = self._indices.get(tensor.data_ptr())
        if index is None:
            return tensor
        self._uses += 1
        return index, tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset())

    def unpack(self, packed: _Packed) -> Tensor:
        """Return the tensor, recomputed; release all of them after the last use."""
        if isinstance(packed, Tensor):
            return packed
        if not self._recomputed:
            with torch.no_grad(), self._autocast:
                self._recomputed = self._recompute()
            self._uses_left = self._uses
        index, size, stride, offset = packed
        tensor = self._recomputed[index].as_strided(size, stride, offset)
        self._uses_left -= 1
        if not self._uses_left:
            self._recomputed = ()
        return tensor
