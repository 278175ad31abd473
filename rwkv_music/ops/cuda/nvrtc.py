"""NVIDIA's run-time compiler (NVRTC), called through its C interface.

Every CUDA build of torch includes it; `pip install 'rwkv-music[gpu]'` installs it otherwise.
"""

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass

from rwkv_music.ops.cuda.kernel_unavailable import KernelUnavailable


@dataclass(frozen=True)
class Compiled:
    """Result of a compilation."""

    image: bytes
    """Machine code (a cubin), or PTX for a GPU newer than the compiler."""
    log: str
    """Output of the compiler; with the option `-v` it lists registers and spills."""


@functools.cache
def load_nvrtc() -> ctypes.CDLL:
    """Load the compiler's library.

    Raises:
        KernelUnavailable: If it is not installed.
    """
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib
    except ImportError as error:
        raise KernelUnavailable(
            "the package cuda-pathfinder, which finds NVIDIA's libraries, is not installed: "
            "pip install 'rwkv-music[gpu]'"
        ) from error
    try:
        return ctypes.CDLL(load_nvidia_dynamic_lib("nvrtc").abs_path)
    except (OSError, RuntimeError) as error:  # its DynamicLibNotFoundError is a RuntimeError
        raise KernelUnavailable(
            "NVIDIA's run-time compiler (NVRTC) was not found: pip install 'rwkv-music[gpu]'"
        ) from error


@functools.cache
def nvrtc_version() -> tuple[int, int]:
    """Return the CUDA version as (major, minor)."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(load_nvrtc().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return major.value, minor.value


@functools.cache
def supported_architectures() -> tuple[int, ...]:
    """Return the compute capabilities it compiles for, times ten: (75, 80, ...)."""
    count = ctypes.c_int()
    _check(load_nvrtc().nvrtcGetNumSupportedArchs(ctypes.byref(count)))
    architectures = (ctypes.c_int * count.value)()
    _check(load_nvrtc().nvrtcGetSupportedArchs(architectures))
    return tuple(sorted(architectures))


def target_of(capability: int) -> str:
    """Return the compilation target: machine code, or PTX for a GPU newer than the compiler.

    Args:
        capability: Compute capability of the GPU, times ten.

    Raises:
        KernelUnavailable: If the GPU is older than all targets of this compiler.
    """
    supported = supported_architectures()
    if capability in supported:
        return f"sm_{capability}"
    older = [target for target in supported if target < capability]
    if not older:
        version = ".".join(map(str, nvrtc_version()))
        raise KernelUnavailable(
            f"the GPU has compute capability {capability / 10:.1f}, but NVRTC {version} supports "
            f"{supported[0] / 10:.1f} and newer: install torch for an older "
            "CUDA, or use the backend chunked"
        )
    return f"compute_{older[-1]}"


def compile_source(source: str, target: str, options: Sequence[str] = ()) -> Compiled:
    """Compile CUDA C++ source without includes.

    Args:
        source: The source code.
        target: "sm_90" for machine code, "compute_90" for PTX.
        options: More options of NVRTC, such as "-DNAME=1".

    Raises:
        KernelUnavailable: If it does not compile; the first error is in the message.
    """
    nvrtc = load_nvrtc()
    program = ctypes.c_void_p()
    _check(
        nvrtc.nvrtcCreateProgram(
            ctypes.byref(program), source.encode(), b"rwkv_music.cu", 0, None, None
        )
    )
    try:
        arguments = [f"--gpu-architecture={target}", "--std=c++17", *options]
        encoded = (ctypes.c_char_p * len(arguments))(*(x.encode() for x in arguments))
        code = nvrtc.nvrtcCompileProgram(program, len(arguments), encoded)
        log = _read_output(program, "ProgramLog").decode(errors="replace").rstrip("\0")
        if code:
            errors = [line for line in log.splitlines() if "error" in line] or [_name(code)]
            raise KernelUnavailable(
                f"NVRTC {'.'.join(map(str, nvrtc_version()))} did not compile the kernel for "
                f"{target}: {errors[0].strip()}"
            )
        return Compiled(_read_output(program, "CUBIN" if target.startswith("sm_") else "PTX"), log)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _read_output(program: ctypes.c_void_p, output_name: str) -> bytes:
    size = ctypes.c_size_t()
    _check(getattr(load_nvrtc(), f"nvrtcGet{output_name}Size")(program, ctypes.byref(size)))
    output = ctypes.create_string_buffer(size.value)
    _check(getattr(load_nvrtc(), f"nvrtcGet{output_name}")(program, output))
    return output.raw


def _check(code: int) -> None:
    if code:
        raise KernelUnavailable(f"NVRTC failed: {_name(code)}")


def _name(code: int) -> str:
    get_error_string = load_nvrtc().nvrtcGetErrorString
    get_error_string.restype = ctypes.c_char_p
    return bytes(get_error_string(code)).decode()
