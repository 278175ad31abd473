"""Selection of the kernels to run: one order of preference for all operators of RWKV-7.

`cuda` is the CUDA kernel for NVIDIA GPUs, `triton` the same algorithm in Triton for other GPUs,
`native` the C++ library on the CPU, `chunked` plain PyTorch on any device, `reference` the readable
step-by-step loop. The first one that can take the given tensors is used.
"""

import warnings

import torch
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.native import load_library
from rwkv_music.ops.cuda import KernelUnavailable
from rwkv_music.ops.direct_calls import constant_when_compiled
from rwkv_music.ops.registry import BACKEND_VARIABLE, forced_backend, get_backend
from rwkv_music.ops.tensor_arguments import DTYPE_CODES

BACKENDS = ("cuda", "triton", "native", "chunked", "reference")
"""The built-in backends, in order of preference."""
HEAD_SIZE = 64
"""The head size that the native, CUDA and Triton kernels are written for."""
_GPU_KERNELS = ("cuda", "triton")
_GPU_DTYPES = (torch.float32, torch.bfloat16)


def available_backends(device: torch.device | str | None = None) -> list[str]:
    """Return the built-in backends that work on a device, the preferred one first.

    Args:
        device: Any device of this machine when None.
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


def choose_backend(x: Tensor, head_size: int, requested: str | None = None) -> str:
    """Return the name of the backend for tensors like `x`.

    If a GPU kernel should run on the device of `x` but cannot, a warning says why, once in a
    process, and the next backend is used.

    Args:
        x: One of the input tensors.
        head_size: Channels of a head.
        requested: Name of a backend. When None, `RWKV_MUSIC_WKV` or the preference decides.

    Raises:
        InputError: If the requested backend does not exist or cannot take such tensors.
    """
    name = requested or forced_backend()
    if not name:
        return _preferred(x, head_size)
    reason = get_backend(name).why_unavailable(x, head_size)
    if reason:
        raise InputError(f"the WKV backend '{name}' cannot run here: {reason}")
    return name


def _preferred(x: Tensor, head_size: int) -> str:
    """Return the first built-in backend that can take such tensors."""
    if x.device.type == "cpu":
        return "native" if why_not_native(x, head_size) is None else "chunked"
    if _why_not_on_gpu(x, head_size) is None:
        for name in _GPU_KERNELS:
            if _works_or_warn(name, _device_index(x), x.dtype):
                return name
    return "chunked"


def why_not_native(x: Tensor, head_size: int) -> str | None:
    """Return why the native library cannot take tensors like `x`, or None if it can."""
    if x.device.type != "cpu":
        return f"it runs on the CPU, the tensors are on {x.device}"
    if head_size != HEAD_SIZE:
        return f"it takes heads of {HEAD_SIZE} channels, these have {head_size}"
    if x.dtype not in DTYPE_CODES:
        return f"it takes float32, bfloat16 and float64, not {x.dtype}"
    reason: str | None = _why_no_native_library()
    return reason


def why_not_cuda(x: Tensor, head_size: int) -> str | None:
    """Return why the CUDA kernel cannot take tensors like `x`, or None if it can."""
    return _why_not_on_gpu(x, head_size) or _why_no_gpu_kernel("cuda", _device_index(x), x.dtype)


def why_not_triton(x: Tensor, head_size: int) -> str | None:
    """Return why the Triton kernel cannot take tensors like `x`, or None if it can."""
    return _why_not_on_gpu(x, head_size) or _why_no_gpu_kernel("triton", _device_index(x), x.dtype)


def _why_not_on_gpu(x: Tensor, head_size: int) -> str | None:
    """Return why no GPU kernel takes such tensors on any machine, or None."""
    if x.device.type != "cuda":
        return f"it runs on a GPU, the tensors are on {x.device}"
    if head_size != HEAD_SIZE:
        return f"it takes heads of {HEAD_SIZE} channels, these have {head_size}"
    if x.dtype not in _GPU_DTYPES:
        return f"it takes float32 and bfloat16, not {x.dtype}"
    return None


def _device_index(x: Tensor) -> int:
    return 0 if x.device.index is None else x.device.index


@constant_when_compiled
def _why_no_gpu_kernel(name: str, index: int, dtype: torch.dtype) -> str | None:
    """Compile and load a kernel on a GPU; return why that fails, or None if it works."""
    from rwkv_music.ops.wkv7 import cuda, triton

    try:
        (cuda if name == "cuda" else triton).require(index, dtype)
    except KernelUnavailable as error:
        return str(error)
    return None


_reported: set[str] = set()


@constant_when_compiled
def _works_or_warn(name: str, index: int, dtype: torch.dtype) -> bool:
    """Return whether a kernel runs on a GPU; if not, warn once per reason."""
    reason = _why_no_gpu_kernel(name, index, dtype)
    if reason is not None and reason not in _reported:
        _reported.add(reason)
        fallback = BACKENDS[BACKENDS.index(name) + 1]
        fallback = "chunked" if fallback == "native" else fallback
        warnings.warn(
            f"the WKV kernel '{name}' is not used: {reason}; falling back to '{fallback}'",
            RuntimeWarning,
            stacklevel=2,
        )
    return reason is None


@constant_when_compiled
def _why_no_native_library() -> str | None:
    """Return why the native library is missing, or None if it is loaded."""
    library = load_library()
    return library.explanation if library.functions is None else None


@constant_when_compiled
def has_amx() -> bool:
    """Return whether the native library multiplies bfloat16 matrices with AMX on this machine."""
    return load_library().variant == "amx"


def describe_backends() -> str:
    """Return one line that says which backend runs on this machine and why."""
    if forced := forced_backend():
        return f"{forced}, forced by {BACKEND_VARIABLE}"
    library = load_library()
    if library.functions is None:
        on_cpu = f"chunked (PyTorch); the native library is not used: {library.explanation}"
    else:
        products = "AMX" if has_amx() else "PyTorch"
        on_cpu = (
            f"native on the CPU ({library.explanation}; bfloat16 matrix products by {products}), "
            "chunked (PyTorch) elsewhere"
        )
    return f"{_describe_gpu()}{on_cpu}"


def _describe_gpu() -> str:
    """Return which kernel runs on the first GPU, with a semicolon; empty without a GPU."""
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
    """Return whether bfloat16 matrix products are faster than float32 ones on a device.

    True for every GPU that torch supports, and for CPUs with AVX512_BF16 or better.
    """
    if device.type != "cpu":
        return device.type == "cuda"
    # torch has no public function for this; without the private one, float32 is used.
    is_supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(is_supported is not None and is_supported())
