"""Computing cheap tensors again in the backward instead of keeping them.

A matrix product keeps its input for the backward. Where that input came out of a pass that costs a
fraction of the product, as RWKV's shifted mixtures do, remembering how it was made saves a third of
a layer's memory.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_IS_OFF = ContextVar("_IS_OFF", default=False)
_Kept = Tensor | tuple[int, tuple[int, ...], tuple[int, ...], int]


@contextmanager
def recomputed(
    tensors: Sequence[Tensor], recompute: Callable[[], Sequence[Tensor]]
) -> Iterator[None]:
    """Operators inside keep none of `tensors` for their backward; it computes them again.

    Without gradients, while torch compiles, and inside `plainly`, nothing is changed.

    Args:
        tensors: Contiguous, as `recompute` makes them.
        recompute: Makes them again, bit for bit. Called without gradients, at most once while they
            are all being used.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or _IS_OFF.get():
        yield
        return
    maker = _Maker(tensors, recompute)
    with torch.autograd.graph.saved_tensors_hooks(maker.pack, maker.unpack):
        yield


@contextmanager
def plainly() -> Iterator[None]:
    """Inside, `recomputed` changes nothing.

    For what is computed again as a whole, as by gradient checkpointing: what `recomputed` remembers
    in order to make a tensor again would else stay in memory.
    """
    before = _IS_OFF.set(True)
    try:
        yield
    finally:
        _IS_OFF.reset(before)


class _Maker:
    """Packs a tensor as its number and layout, and makes all of them at the first unpacking."""

    def __init__(
        self, tensors: Sequence[Tensor], recompute: Callable[[], Sequence[Tensor]]
    ) -> None:
        device = tensors[0].device.type
        # The backward runs outside of the forward's autocast, which decides what is made.
        self._autocast = torch.autocast(
            device,
            dtype=torch.get_autocast_dtype(device),
            enabled=torch.is_autocast_enabled(device),
        )
        self._places = {each.data_ptr(): place for place, each in enumerate(tensors)}
        self._recompute = recompute
        self._uses = 0
        self._uses_left = 0
        self._made: Sequence[Tensor] = ()

    def pack(self, tensor: Tensor) -> _Kept:
        """What is kept in place of a tensor: how to find it among those made again."""
        place = self._places.get(tensor.data_ptr())
        if place is None:
            return tensor
        self._uses += 1
        return place, tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset())

    def unpack(self, kept: _Kept) -> Tensor:
        """The tensor, made again; after their last use all of them are let go."""
        if isinstance(kept, Tensor):
            return kept
        if not self._made:
            with torch.no_grad(), self._autocast:
                self._made = self._recompute()
            self._uses_left = self._uses
        place, size, stride, offset = kept
        tensor = self._made[place].as_strided(size, stride, offset)
        self._uses_left -= 1
        if not self._uses_left:
            self._made = ()
        return tensor
