"""A GPU as its kernels see it: what it is, and source text ready to be launched on it."""

import ctypes
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from rwkv_music.ops.cuda import cubins, nvrtc
from rwkv_music.ops.cuda.driver import DriverError, Module, ensure_context
from rwkv_music.ops.cuda.errors import KernelUnavailable

_BROKEN_IMAGE = (200, 209, 300)
"""What the driver says of machine code that it cannot make sense of."""


@runtime_checkable
class Kernels(Protocol):
    """Functions that can be launched."""

    def launch(
        self, name: str, arguments: ctypes.Structure, *, blocks: int, threads: int, shared: int,
        stream: int,
    ) -> None:  # fmt: skip
        """See `Module.launch`; to be called inside `Gpu.current`."""
        ...


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU."""

    index: int
    capability: int
    """Compute capability times ten."""
    multiprocessors: int
    shared_memory: int
    """Bytes that one block may have."""

    def stream(self) -> int:
        """The driver's handle of torch's current stream."""
        return int(torch.cuda.current_stream(self.index).cuda_stream)

    def kernels(self, name: str, source: str, options: Sequence[str]) -> Kernels:
        """Compile a source for this GPU, or take it from the cache, and load it.

        Machine code of the cache that the driver does not take is compiled once more.

        Raises:
            KernelUnavailable: If it cannot be compiled or loaded.
        """
        target = nvrtc.target_of(self.capability)
        key = "\n".join([source, target, *options, str(nvrtc.nvrtc_version())])

        def image(*, anew: bool) -> bytes:
            return cubins.cached(
                f"{name}-{target}",
                key,
                lambda: nvrtc.compile_source(source, target, options).image,
                anew=anew,
            )

        with self.current():
            try:
                return Module(image(anew=False))
            except DriverError as error:
                if error.code not in _BROKEN_IMAGE:
                    raise
                return Module(image(anew=True))

    @contextmanager
    def current(self) -> Iterator[None]:
        """Inside, the driver's calls mean this GPU."""
        with torch.cuda.device(self.index):
            ensure_context(self.index)
            yield


@functools.cache
def gpu_of(index: int) -> Gpu:
    """The GPU torch knows by a number.

    Raises:
        KernelUnavailable: If it is not one of NVIDIA's.
    """
    if torch.version.hip is not None:
        raise KernelUnavailable("this torch is for AMD's GPUs, the kernel for NVIDIA's")
    properties = torch.cuda.get_device_properties(index)
    return Gpu(
        index,
        10 * properties.major + properties.minor,
        properties.multi_processor_count,
        int(getattr(properties, "shared_memory_per_block_optin", 48 * 1024)),
    )
