"""Which kernels run: one order of preference for all operators of RWKV-7.

`cuda` is our CUDA kernel on an NVIDIA GPU, `triton` the same in Triton, for other GPUs as well;
`native` is the C++ library on the CPU, `chunked` plain PyTorch on any device, `reference` the step
loop that defines the truth. The first that can take the tensors at hand does.
"""

import os
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.native import load_library
from rwkv_music.ops.cuda import KernelUnavailable
from rwkv_music.ops.native_arguments import NUMBER_TYPES

BACKENDS = ("cuda", "triton", "native", "chunked", "reference")
"""In order of preference."""
VARIABLE = "RWKV_MUSIC_WKV"
"""The environment variable that forces one of them."""
NATIVE_HEAD_SIZE = 64
"""The head size that every kernel of ours is written for."""
_GPU_TYPES = (torch.float32, torch.bfloat16)


def available_backends(device: torch.device | str | None = None) -> list[str]:
    """Names of the backends that work on a device, the preferred one first.

    Args:
        device: By default any that this machine has.
    """
    types = _device_types() if device is None else [torch.device(device).type]
    works = {
        "cuda": "cuda" in types and _why_no_gpu_kernel("cuda", 0, torch.float32) is None,
        "triton": "cuda" in types and _why_no_gpu_kernel("triton", 0, torch.float32) is None,
        "native": "cpu" in types and load_library().functions is not None,
    }
    return [name for name in BACKENDS if works.get(name, True)]


def _device_types() -> list[str]:
    return ["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"]


def choose_backend(x: Tensor, head_size: int, asked: str | None = None) -> str:
    """The backend for tensors like `x`.

    A kernel that should run on the device of `x` and cannot is named once, in a warning that says
    why and what helps, and the next one in order is taken.

    Args:
        x: One of the tensors to compute with.
        head_size: Channels of a head.
        asked: The backend to take; by default what `RWKV_MUSIC_WKV` says, or the preferred one.

    Raises:
        InputError: If the backend asked for is unknown or cannot take such tensors.
    """
    name = asked or _forced()
    if not name:
        return _preferred(x, head_size)
    if name not in BACKENDS:
        raise InputError(
            f"there is no WKV backend '{name}': choose one of {', '.join(available_backends())}"
        )
    reason = _why_not(name, x, head_size)
    if reason:
        raise InputError(f"the WKV backend '{name}' cannot run here: {reason}")
    return name


def _preferred(x: Tensor, head_size: int) -> str:
    """The first backend in order that can take such tensors."""
    if x.device.type == "cpu":
        return "native" if why_not_native(x, head_size) is None else "chunked"
    if _why_unfit(x, head_size) is None:
        for name in _GPU_KERNELS:
            if _runs_or_says_why(name, _index(x), x.dtype):
                return name
    return "chunked"


def _why_not(name: str, x: Tensor, head_size: int) -> str | None:
    ask = _WHY_NOT.get(name)
    return None if ask is None else ask(x, head_size)


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


def why_not_cuda(x: Tensor, head_size: int) -> str | None:
    """Why the CUDA kernel cannot take tensors like `x`; None if it can."""
    return _why_unfit(x, head_size) or _why_no_gpu_kernel("cuda", _index(x), x.dtype)


def why_not_triton(x: Tensor, head_size: int) -> str | None:
    """Why the Triton kernel cannot take tensors like `x`; None if it can."""
    return _why_unfit(x, head_size) or _why_no_gpu_kernel("triton", _index(x), x.dtype)


_WHY_NOT: dict[str, Callable[[Tensor, int], str | None]] = {
    "cuda": why_not_cuda,
    "triton": why_not_triton,
    "native": why_not_native,
}
_GPU_KERNELS = ("cuda", "triton")


def _why_unfit(x: Tensor, head_size: int) -> str | None:
    """Why no kernel for GPUs takes such tensors, whatever the machine."""
    if x.device.type != "cuda":
        return f"it runs on a GPU, the tensors are on {x.device}"
    if head_size != NATIVE_HEAD_SIZE:
        return f"it takes heads of {NATIVE_HEAD_SIZE} channels, these have {head_size}"
    if x.dtype not in _GPU_TYPES:
        return f"it takes float32 and bfloat16, not {x.dtype}"
    return None


def _index(x: Tensor) -> int:
    return 0 if x.device.index is None else x.device.index


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator] # torch's own
def _why_no_gpu_kernel(name: str, index: int, dtype: torch.dtype) -> str | None:
    """Why a kernel does not run on a GPU; None if it does. Compiles and loads it to find out."""
    from rwkv_music.ops.wkv7 import cuda, triton

    try:
        (cuda if name == "cuda" else triton).require(index, dtype)
    except KernelUnavailable as error:
        return str(error)
    return None


_told: set[str] = set()


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator] # torch's own
def _runs_or_says_why(name: str, index: int, dtype: torch.dtype) -> bool:
    """Whether a kernel runs on a GPU; if not, the reason is told once in a process."""
    reason = _why_no_gpu_kernel(name, index, dtype)
    if reason is not None and reason not in _told:
        _told.add(reason)
        following = BACKENDS[BACKENDS.index(name) + 1]
        following = "chunked" if following == "native" else following
        warnings.warn(
            f"the WKV kernel '{name}' is not used: {reason}; '{following}' comes next",
            RuntimeWarning,
            stacklevel=2,
        )
    return reason is None


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator] # torch's own
def _forced() -> str:
    """The backend that the environment forces, if it does; a compiled graph remembers it."""
    return os.environ.get(VARIABLE, "")


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator] # torch's own
def _why_no_library() -> str | None:
    """Why there is no native library; None if there is one."""
    library = load_library()
    return library.explanation if library.functions is None else None


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator] # torch's own
def has_tiles() -> bool:
    """Whether the native library multiplies bfloat16 in tiles (AMX) on this machine."""
    return load_library().variant == "amx"


def describe_backends() -> str:
    """Which backend runs on this machine and why, in one line."""
    if forced := _forced():
        return f"{forced}, forced by {VARIABLE}"
    library = load_library()
    if library.functions is None:
        on_cpu = f"chunked (PyTorch); the native library is not used: {library.explanation}"
    else:
        by = "in its tiles" if has_tiles() else "by PyTorch"
        on_cpu = (
            f"native on the CPU ({library.explanation}; products of bfloat16 {by}), "
            "chunked (PyTorch) elsewhere"
        )
    return f"{_describe_gpu()}{on_cpu}"


def _describe_gpu() -> str:
    """Which kernel runs on the first GPU, with a semicolon; nothing where there is no GPU."""
    if not torch.cuda.is_available():
        return ""
    reasons: list[str] = []
    for name in _GPU_KERNELS:
        reason = _why_no_gpu_kernel(name, 0, torch.float32)
        if reason is None:
            return f"{name} on the GPU{''.join(reasons)}; "
        reasons.append(f" ({name} is not used: {reason})")
    return f"chunked (PyTorch) on the GPU{''.join(reasons)}; "


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster than in float32 on a device.

    Every GPU that torch supports has them; of CPUs, those with AVX512_BF16 or better.
    """
    if device.type != "cpu":
        return device.type == "cuda"
    # torch offers no public question; without this one we go on in float32.
    ask = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(ask is not None and ask())
