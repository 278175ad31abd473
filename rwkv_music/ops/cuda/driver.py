"""The NVIDIA driver's C interface: load machine code and launch its functions."""

import ctypes
import functools
import sys

from rwkv_music.ops.cuda.kernel_unavailable import KernelUnavailable

_MAX_DYNAMIC_SHARED_SIZE = 8
"""CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES."""
_DEFAULT_SHARED_MEMORY = 48 * 1024
"""Bytes of shared memory that a launch may use without setting an attribute."""
_OUT_OF_MEMORY = 2
_REMEDIES = {
    _OUT_OF_MEMORY: "the GPU is out of memory; reduce the batch size, or end other programs on it",
    100: "the driver finds no GPU",
    200: "the driver does not accept this machine code; update the NVIDIA driver",
    209: "the machine code is not for this GPU; empty the folder cubins in rwkv-music's cache",
    218: "the driver could not translate PTX; update the NVIDIA driver",
    222: "the driver is older than the compiler; update the NVIDIA driver",
    701: "the kernel needs more registers or shared memory than the GPU has",
    803: "the versions of the driver's components differ; restart the machine",
}
"""Remedies by CUresult code."""


class DriverError(KernelUnavailable):
    """A failed driver call, with the name of the error and a remedy."""

    def __init__(self, call: str, code: int) -> None:
        self.code = code
        remedy = _REMEDIES.get(code, "update the NVIDIA driver if this happens again")
        super().__init__(f"{call} failed with {_name(code)}: {remedy}")


@functools.cache
def load_driver() -> ctypes.CDLL:
    """Load the driver's library.

    Raises:
        KernelUnavailable: If it is not installed.
    """
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise KernelUnavailable(
            f"there is no NVIDIA driver ({name} was not found): install one from nvidia.com/drivers"
        ) from error


def ensure_context(index: int) -> None:
    """Make torch's context of a GPU current in this thread if it has none.

    Autograd threads may not have called CUDA yet.
    """
    context, device = ctypes.c_void_p(), ctypes.c_int()
    _call("cuCtxGetCurrent", ctypes.byref(context))
    if not context.value:
        _call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(index))
        _call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        _call("cuCtxSetCurrent", context)


class Module:
    """Machine code loaded into the context of the current GPU.

    Args:
        image: A cubin, or PTX.

    Raises:
        DriverError: If the driver does not accept it.
    """

    def __init__(self, image: bytes) -> None:
        self._functions: dict[tuple[str, int], ctypes.c_void_p] = {}
        self._module = ctypes.c_void_p()
        _call("cuModuleLoadData", ctypes.byref(self._module), image)

    def launch(
        self, name: str, arguments: ctypes.Structure, *, blocks: int, threads: int, shared: int,
        stream: int,
    ) -> None:  # fmt: skip
        """Launch a function whose only parameter is a structure; returns before it is finished.

        Args:
            name: Name of the function.
            arguments: The structure, copied before this returns.
            blocks: Number of blocks (one dimension).
            threads: Threads per block.
            shared: Bytes of dynamic shared memory per block.
            stream: Handle of the stream.

        Raises:
            DriverError: If the driver refuses the launch.
        """
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
        _call(
            "cuLaunchKernel", self._function(name, shared),
            *map(ctypes.c_uint, (blocks, 1, 1, threads, 1, 1, shared)),
            ctypes.c_void_p(stream), parameters, None,
        )  # fmt: skip

    def _function(self, name: str, shared: int) -> ctypes.c_void_p:
        function = self._functions.get((name, shared))
        if function is None:
            function = ctypes.c_void_p()
            _call("cuModuleGetFunction", ctypes.byref(function), self._module, name.encode())
            if shared > _DEFAULT_SHARED_MEMORY:
                _call(
                    "cuFuncSetAttribute", function, _MAX_DYNAMIC_SHARED_SIZE, ctypes.c_int(shared)
                )
            self._functions[name, shared] = function
        return function


def _call(name: str, *arguments: object) -> None:
    code = int(getattr(load_driver(), name)(*arguments))
    if code:
        raise DriverError(name, code)


def _name(code: int) -> str:
    name = ctypes.c_char_p()
    load_driver().cuGetErrorName(code, ctypes.byref(name))
    return name.value.decode() if name.value else f"error {code}"
