"""NVIDIA's driver: loading machine code and launching its functions, through the C interface."""

import ctypes
import functools
import sys

from rwkv_music.ops.cuda.errors import KernelUnavailable

_LARGEST_SHARED_MEMORY = 8
"""CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES."""
_FREE_SHARED_MEMORY = 48 * 1024
"""What a launch may have without asking."""
_OUT_OF_MEMORY = 2
_REMEDIES = {
    _OUT_OF_MEMORY: "the GPU's memory is full; lower the batch size, or end other programs on it",
    100: "the driver sees no GPU",
    200: "the driver does not take this machine code; update the NVIDIA driver",
    209: "the machine code is not for this GPU; empty the folder cubins in rwkv-music's cache",
    218: "the driver could not translate PTX; update the NVIDIA driver",
    222: "the driver is older than the compiler; update the NVIDIA driver",
    701: "the kernel needs more registers or shared memory than the GPU has",
    803: "the driver's parts are of different versions; restart the machine",
}
"""By the driver's error number."""


class DriverError(KernelUnavailable):
    """The driver refused; the message has its own name for why, and a remedy where we know one."""

    def __init__(self, call: str, code: int) -> None:
        self.code = code
        remedy = _REMEDIES.get(code, "update the NVIDIA driver if this happens again")
        super().__init__(f"{call} failed with {_name(code)}: {remedy}")


@functools.cache
def load_driver() -> ctypes.CDLL:
    """The driver's library.

    Raises:
        KernelUnavailable: If there is none.
    """
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise KernelUnavailable(
            f"there is no NVIDIA driver ({name} was not found): install one from nvidia.com/drivers"
        ) from error


def ensure_context(index: int) -> None:
    """Give this thread the context that torch uses on a GPU, unless it has one.

    A thread of torch's backward may not have called CUDA yet.
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
        image: A cubin or PTX.

    Raises:
        DriverError: If the driver does not take it.
    """

    def __init__(self, image: bytes) -> None:
        self._functions: dict[tuple[str, int], ctypes.c_void_p] = {}
        self._module = ctypes.c_void_p()
        _call("cuModuleLoadData", ctypes.byref(self._module), image)

    def launch(
        self, name: str, arguments: ctypes.Structure, *, blocks: int, threads: int, shared: int,
        stream: int,
    ) -> None:  # fmt: skip
        """Start a function whose one parameter is a structure; returns before it is done.

        Args:
            name: Of the function.
            arguments: Copied before this returns.
            blocks: In a row.
            threads: Of a block.
            shared: Bytes of dynamic shared memory of a block.
            stream: The driver's handle.

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
        found = self._functions.get((name, shared))
        if found is None:
            found = ctypes.c_void_p()
            _call("cuModuleGetFunction", ctypes.byref(found), self._module, name.encode())
            if shared > _FREE_SHARED_MEMORY:
                _call("cuFuncSetAttribute", found, _LARGEST_SHARED_MEMORY, ctypes.c_int(shared))
            self._functions[name, shared] = found
        return found


def _call(name: str, *arguments: object) -> None:
    code = int(getattr(load_driver(), name)(*arguments))
    if code:
        raise DriverError(name, code)


def _name(code: int) -> str:
    found = ctypes.c_char_p()
    load_driver().cuGetErrorName(code, ctypes.byref(found))
    return found.value.decode() if found.value else f"error {code}"
