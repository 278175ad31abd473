"""Structures passed to the native library, equal to those in `rwkv_music/native/source/*.h`.

Sequences are passed with their strides; only their channels must be contiguous.
"""

import ctypes
from typing import ClassVar

import torch
from torch import Tensor

DTYPE_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float64: 2}
"""Codes of the dtypes that the native library reads and writes."""


class Sequence(ctypes.Structure):
    """A tensor [batch, step, head, channel]; strides count elements."""

    _fields_: ClassVar = [
        ("data", ctypes.c_void_p),
        ("batch_stride", ctypes.c_int64),
        ("step_stride", ctypes.c_int64),
        ("head_stride", ctypes.c_int64),
    ]


class Sizes(ctypes.Structure):
    """Sizes, dtype and number of threads of an operator over sequences."""

    _fields_: ClassVar = [
        ("batch", ctypes.c_int64),
        ("steps", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("type", ctypes.c_int32),
        ("threads", ctypes.c_int32),
    ]


_STEPS_PER_THREAD = 64
"""Steps of a head that take about as long as starting a thread."""


def sizes_of(x: Tensor) -> Sizes:
    """Return sizes of [batch, step, head, channel] and a number of threads (at most torch's)."""
    batch, steps, heads, _ = x.shape
    threads = min(torch.get_num_threads(), max(1, batch * steps * heads // _STEPS_PER_THREAD))
    return Sizes(batch, steps, heads, DTYPE_CODES[x.dtype], threads)


def sequence(x: Tensor) -> Sequence:
    """Describe a tensor whose last dimension is contiguous (see `contiguous_channels`)."""
    return Sequence(x.data_ptr(), x.stride(0), x.stride(1), x.stride(2))


def contiguous_channels(x: Tensor) -> Tensor:
    """Return the tensor if its channels are contiguous, or a contiguous copy."""
    return x if x.stride(-1) == 1 else x.contiguous()


def address(x: Tensor | None) -> int | None:
    """Return the address of a contiguous tensor's data; None is a null pointer."""
    return None if x is None else x.data_ptr()


def contiguous(x: Tensor | None) -> Tensor | None:
    """Return a contiguous tensor, or None for None."""
    return None if x is None else x.contiguous()
