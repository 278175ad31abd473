"""NVIDIA's run-time compiler (NVRTC), through its C interface.

It comes with every CUDA build of torch; `pip install 'rwkv-music[gpu]'` brings one for any other.
"""

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass

from rwkv_music.ops.cuda.errors import KernelUnavailable


@dataclass(frozen=True)
class Compiled:
    """What came out of a compilation."""

    image: bytes
    """Machine code (a cubin), or PTX for a chip newer than the compiler."""
    log: str
    """What the compiler said, registers and spills among it if it was asked with `-v`."""


@functools.cache
def load_nvrtc() -> ctypes.CDLL:
    """The compiler's library.

    Raises:
        KernelUnavailable: If there is none.
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
    """Of CUDA, major and minor."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(load_nvrtc().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return major.value, minor.value


@functools.cache
def supported_architectures() -> tuple[int, ...]:
    """Compute capabilities it can make machine code for, times ten: (75, 80, ...)."""
    count = ctypes.c_int()
    _check(load_nvrtc().nvrtcGetNumSupportedArchs(ctypes.byref(count)))
    found = (ctypes.c_int * count.value)()
    _check(load_nvrtc().nvrtcGetSupportedArchs(found))
    return tuple(sorted(found))


def target_of(capability: int) -> str:
    """What to compile for: the chip's own machine code, or PTX that its driver translates.

    Args:
        capability: The chip's compute capability times ten.

    Raises:
        KernelUnavailable: If the chip is older than all that this compiler knows.
    """
    known = supported_architectures()
    if capability in known:
        return f"sm_{capability}"
    older = [each for each in known if each < capability]
    if not older:
        version = ".".join(map(str, nvrtc_version()))
        raise KernelUnavailable(
            f"the GPU has compute capability {capability / 10:.1f}, and NVRTC {version} begins at "
            f"{known[0] / 10:.1f}: install a torch of an older CUDA, or use the backend chunked"
        )
    return f"compute_{older[-1]}"


def compile_source(source: str, target: str, options: Sequence[str] = ()) -> Compiled:
    """Compile CUDA C++ that includes nothing.

    Args:
        source: The program.
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
        words = [f"--gpu-architecture={target}", "--std=c++17", *options]
        given = (ctypes.c_char_p * len(words))(*(word.encode() for word in words))
        code = nvrtc.nvrtcCompileProgram(program, len(words), given)
        log = _text(program, "ProgramLog").decode(errors="replace").rstrip("\0")
        if code:
            errors = [line for line in log.splitlines() if "error" in line] or [_name(code)]
            raise KernelUnavailable(
                f"NVRTC {'.'.join(map(str, nvrtc_version()))} did not compile the kernel for "
                f"{target}: {errors[0].strip()}"
            )
        return Compiled(_text(program, "CUBIN" if target.startswith("sm_") else "PTX"), log)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _text(program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(getattr(load_nvrtc(), f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    found = ctypes.create_string_buffer(size.value)
    _check(getattr(load_nvrtc(), f"nvrtcGet{what}")(program, found))
    return found.raw


def _check(code: int) -> None:
    if code:
        raise KernelUnavailable(f"NVRTC refused: {_name(code)}")


def _name(code: int) -> str:
    ask = load_nvrtc().nvrtcGetErrorString
    ask.restype = ctypes.c_char_p
    return bytes(ask(code)).decode()
