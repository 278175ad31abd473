"""Which kernels run: one order of preference for all operators of RWKV-7.

`native` is the C++ library on the CPU, `chunked` plain PyTorch on any device, `reference` the step
loop that defines the truth. The first that can take the tensors at hand does.
"""

import os

import torch
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.ops.native import load_library
from rwkv_music.ops.native.arguments import NUMBER_TYPES

BACKENDS = ("native", "chunked", "reference")
"""In order of preference."""
VARIABLE = "RWKV_MUSIC_WKV"
"""The environment variable that forces one of them."""
NATIVE_HEAD_SIZE = 64


def available_backends() -> list[str]:
    """Names of the backends that work on this machine, the preferred one first."""
    return [name for name in BACKENDS if name != "native" or load_library().functions is not None]


def choose_backend(x: Tensor, head_size: int, asked: str | None = None) -> str:
    """The backend for tensors like `x`.

    Args:
        x: One of the tensors to compute with.
        head_size: Channels of a head.
        asked: The backend to take; by default what `RWKV_MUSIC_WKV` says, or the preferred one.

    Raises:
        InputError: If the backend asked for is unknown or cannot take such tensors.
    """
    name = asked or _forced()
    if not name:
        return "chunked" if why_not_native(x, head_size) else "native"
    if name not in BACKENDS:
        raise InputError(
            f"there is no WKV backend '{name}': choose one of {', '.join(available_backends())}"
        )
    reason = why_not_native(x, head_size) if name == "native" else None
    if reason:
        raise InputError(f"the WKV backend 'native' cannot run here: {reason}")
    return name


def why_not_native(x: Tensor, head_size: int) -> str | None:
    """Why the native library cannot take tensors like `x`; None if it can."""
    if x.device.type != "cpu":
        return f"it runs on the CPU, the tensors are on {x.device}"
    if head_size != NATIVE_HEAD_SIZE:
        return f"it takes heads of {NATIVE_HEAD_SIZE} channels, these have {head_size}"
    if x.dtype not in NUMBER_TYPES:
        return f"it takes float32, bfloat16 and float64, not {x.dtype}"
    reason: str | None = _why_no_library()
    return reason


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator] # torch's own
def _forced() -> str:
    """The backend that the environment forces, if it does; a compiled graph remembers it."""
    return os.environ.get(VARIABLE, "")


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator] # torch's own
def _why_no_library() -> str | None:
    """Why there is no native library; None if there is one."""
    library = load_library()
    return library.explanation if library.functions is None else None


def describe_backends() -> str:
    """Which backend runs on this machine and why, in one line."""
    library = load_library()
    if library.functions is None:
        return f"chunked (PyTorch); the native library is not used: {library.explanation}"
    if forced := _forced():
        return f"{forced}, forced by {VARIABLE}"
    return f"native on the CPU ({library.explanation}), chunked (PyTorch) elsewhere"


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster than in float32 on a device.

    Every GPU that torch supports has them; of CPUs, those with AVX512_BF16 or better.
    """
    if device.type != "cpu":
        return device.type == "cuda"
    # torch offers no public question; without this one we go on in float32.
    ask = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(ask is not None and ask())
