"""The structures handed to the native library: the same as in source/*.h.

Sequences are passed as they lie in memory, with their strides; only channels must lie side by side.
"""

import ctypes
from typing import ClassVar

import torch
from torch import Tensor

DTYPE_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float64: 2}
"""What the native library can read and write."""


class Sequence(ctypes.Structure):
    """A tensor [batch, step, head, channel]; strides count numbers."""

    _fields_: ClassVar = [
        ("data", ctypes.c_void_p),
        ("batch_stride", ctypes.c_int64),
        ("step_stride", ctypes.c_int64),
        ("head_stride", ctypes.c_int64),
    ]


class Sizes(ctypes.Structure):
    """What an operator over sequences must know of them."""

    _fields_: ClassVar = [
        ("batch", ctypes.c_int64),
        ("steps", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("type", ctypes.c_int32),
        ("threads", ctypes.c_int32),
    ]


_WORTH_A_THREAD = 64
"""Steps of a head that take about as long as starting a thread."""


def sizes_of(x: Tensor) -> Sizes:
    """Of [batch, step, head, channel], with as many threads as torch uses and the work is worth."""
    batch, steps, heads, _ = x.shape
    threads = min(torch.get_num_threads(), max(1, batch * steps * heads // _WORTH_A_THREAD))
    return Sizes(batch, steps, heads, DTYPE_CODES[x.dtype], threads)


def sequence(x: Tensor) -> Sequence:
    """A view of a tensor whose last dimension is contiguous (see `channels_together`)."""
    return Sequence(x.data_ptr(), x.stride(0), x.stride(1), x.stride(2))


def channels_together(x: Tensor) -> Tensor:
    """The tensor itself if its channels lie side by side, or else a copy of it."""
    return x if x.stride(-1) == 1 else x.contiguous()


def address(x: Tensor | None) -> int | None:
    """Where a contiguous tensor's numbers begin; None is a null pointer."""
    return None if x is None else x.data_ptr()


def contiguous(x: Tensor | None) -> Tensor | None:
    """The tensor without gaps, if there is one."""
    return None if x is None else x.contiguous()
