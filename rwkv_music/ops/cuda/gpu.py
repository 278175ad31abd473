"""A GPU: its properties, and kernels compiled and loaded for it."""

import ctypes
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from rwkv_music.ops.cuda import cubins, nvrtc
from rwkv_music.ops.cuda.driver import DriverError, Module, ensure_context
from rwkv_music.ops.cuda.kernel_unavailable import KernelUnavailable

_BROKEN_IMAGE = (200, 209, 300)
"""Driver errors for invalid machine code."""


@runtime_checkable
class Kernels(Protocol):
    """A set of functions that can be launched."""

    def launch(
        self, name: str, arguments: ctypes.Structure, *, blocks: int, threads: int, shared: int,
        stream: int,
    ) -> None:  # fmt: skip
        """See `Module.launch`; call inside `Gpu.current`."""
        ...


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU."""

    index: int
    capability: int
    """Compute capability times ten."""
    multiprocessors: int
    shared_memory: int
    """Maximum bytes per block."""

    def stream(self) -> int:
        """Return the handle of torch's current stream."""
        return int(torch.cuda.current_stream(self.index).cuda_stream)

    def kernels(self, name: str, source: str, options: Sequence[str]) -> Kernels:
        """Compile a source for this GPU, or read it from the cache, and load it.

        Cached machine code that the driver does not accept is compiled again.

        Raises:
            KernelUnavailable: If it cannot be compiled or loaded.
        """
        target = nvrtc.target_of(self.capability)
        key = "\n".join([source, target, *options, str(nvrtc.nvrtc_version())])

        def image(*, refresh: bool) -> bytes:
            return cubins.cached(
                f"{name}-{target}",
                key,
                lambda: nvrtc.compile_source(source, target, options).image,
                refresh=refresh,
            )

        with self.current():
            try:
                return Module(image(refresh=False))
            except DriverError as error:
                if error.code not in _BROKEN_IMAGE:
                    raise
                return Module(image(refresh=True))

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this GPU current for driver calls inside a `with` block."""
        with torch.cuda.device(self.index):
            ensure_context(self.index)
            yield


@functools.cache
def gpu_of(index: int) -> Gpu:
    """Return the GPU with an index of torch.

    Raises:
        KernelUnavailable: If it is not an NVIDIA GPU.
    """
    if torch.version.hip is not None:
        raise KernelUnavailable("this torch is built for AMD GPUs, the kernel is for NVIDIA GPUs")
    properties = torch.cuda.get_device_properties(index)
    return Gpu(
        index,
        10 * properties.major + properties.minor,
        properties.multi_processor_count,
        int(getattr(properties, "shared_memory_per_block_optin", 48 * 1024)),
    )
