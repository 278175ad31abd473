"""One block of memory for all matrices of a model, in huge pages where the system has them.

Address translation and hardware prefetching work per page: weights that do not fit the cache are
read faster from pages of 2 MB than of 4 KB (docs/benchmarks.md).
"""

import contextlib
import mmap
from collections.abc import Mapping
from itertools import accumulate

import torch
from jaxtyping import UInt8
from torch import Tensor

_HUGE_PAGE = 2**21
"""Bytes, on x86-64 and on most ARM64."""
_CACHE_LINE = 64
"""Bytes; every tensor is aligned to it."""


def contiguous_copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors into one block of memory, in the given order.

    Args:
        tensors: CPU tensors of any dtype and shape.

    Example:
        >>> contiguous_copies({"first": torch.ones(2), "second": torch.zeros(3)})["first"]
        tensor([1., 1.])
    """
    sizes = [x.nbytes + -x.nbytes % _CACHE_LINE for x in tensors.values()]
    *offsets, size = accumulate(sizes, initial=0)
    block = _block(size)
    copies = {}
    for offset, (name, tensor) in zip(offsets, tensors.items(), strict=True):
        target = block[offset : offset + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        copies[name] = target.copy_(tensor)
    return copies


def _block(size: int) -> UInt8[Tensor, " size"]:
    """Return page-aligned memory, which is freed with the last tensor that uses it."""
    if size < _HUGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        memory_block = torch.empty(size + _CACHE_LINE, dtype=torch.uint8)
        start = -memory_block.data_ptr() % _CACHE_LINE
    else:
        memory = mmap.mmap(-1, size + _HUGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with contextlib.suppress(OSError):  # a kernel without huge pages uses small ones
            memory.madvise(mmap.MADV_HUGEPAGE)
        memory_block = torch.frombuffer(memory, dtype=torch.uint8)
        start = -memory_block.data_ptr() % _HUGE_PAGE
    return memory_block[start : start + size]
