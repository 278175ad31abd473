"""One block of memory for all matrices of a model, in large pages where the system has them.

A processor looks up where every page lies, and reads ahead to the end of a page only: weights that
no cache holds come faster in pages of 2 MB than in those of 4 KB (docs/benchmarks.md).
"""

import contextlib
import mmap
from collections.abc import Mapping
from itertools import accumulate

import torch
from jaxtyping import UInt8
from torch import Tensor

_LARGE_PAGE = 2**21
"""Bytes, on x86-64 and on most ARM64."""
_CACHE_LINE = 64
"""Bytes; every tensor begins with one."""


def in_one_block(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that lie one behind the other, in the order given.

    Args:
        tensors: Of any dtype and shape, on the CPU.

    Example:
        >>> in_one_block({"first": torch.ones(2), "second": torch.zeros(3)})["first"]
        tensor([1., 1.])
    """
    sizes = [each.nbytes + -each.nbytes % _CACHE_LINE for each in tensors.values()]
    *places, size = accumulate(sizes, initial=0)
    block = _block(size)
    copies = {}
    for place, (name, tensor) in zip(places, tensors.items(), strict=True):
        room = block[place : place + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        copies[name] = room.copy_(tensor)
    return copies


def _block(size: int) -> UInt8[Tensor, " size"]:
    """Memory that begins with a page; lives as long as a tensor that shows some of it."""
    if size < _LARGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        room = torch.empty(size + _CACHE_LINE, dtype=torch.uint8)
        start = -room.data_ptr() % _CACHE_LINE
    else:
        memory = mmap.mmap(-1, size + _LARGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with contextlib.suppress(OSError):  # a kernel without large pages: small ones serve as well
            memory.madvise(mmap.MADV_HUGEPAGE)
        room = torch.frombuffer(memory, dtype=torch.uint8)
        start = -room.data_ptr() % _LARGE_PAGE
    return room[start : start + size]
