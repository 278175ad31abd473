"""GPU emulation on the CPU: the CUDA source compiled with g++, its threads run in turn."""

import ctypes
import dataclasses
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from rwkv_music.ops import registry
from rwkv_music.ops.cuda import Gpu
from rwkv_music.ops.registry import get_backend
from rwkv_music.ops.wkv7 import cuda

FOLDER = Path(__file__).parent
FLAGS = ("-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-U_FORTIFY_SOURCE")


def why_not_emulated() -> str | None:
    """Return why this machine cannot emulate a GPU, or None if it can."""
    if sys.platform != "linux":
        return "the emulation of threads needs glibc's contexts"
    return None if shutil.which("g++") else "there is no g++"


class EmulatedKernels:
    """Runs launches immediately; raises AssertionError where a GPU would hang."""

    def __init__(self, library: Path, size: int, *, falling: bool) -> None:
        self._launch = ctypes.CDLL(str(library)).launch
        self._launch.restype = ctypes.c_char_p
        self._size = size
        self._falling = falling

    def launch(
        self, name: str, arguments: ctypes.Structure, *, blocks: int, threads: int, shared: int,
        stream: int,
    ) -> None:  # fmt: skip
        problem = self._launch(
            name.encode(), ctypes.byref(arguments), blocks, threads, shared // self._size,
            self._falling,
        )  # fmt: skip
        assert problem is None, problem.decode()


class EmulatedGpu(Gpu):
    """The `Gpu` interface over the emulation; with `falling`, the last warp and block run first."""

    def __init__(
        self, *, falling: bool = False, multiprocessors: int = 1, shared_memory: int = 10**9
    ) -> None:
        super().__init__(0, 90, multiprocessors, shared_memory)
        object.__setattr__(self, "falling", falling)

    @contextmanager
    def current(self) -> Iterator[None]:
        yield

    def stream(self) -> int:
        return 0

    def kernels(self, name: str, source: str, options: Sequence[str]) -> EmulatedKernels:
        size = 8 if "-DIO=2" in options else 4
        return EmulatedKernels(compiled(source, tuple(options)), size, falling=self.falling)


@functools.cache
def compiled(source: str, options: tuple[str, ...]) -> Path:
    """Return the library, compiled once per source."""
    folder = Path(tempfile.gettempdir()) / f"rwkv-music-emulated-{_number(source, options)}"
    library = folder / "kernels.so"
    if not library.exists():
        folder.mkdir(exist_ok=True)
        path, aside = folder / "kernel.cu", folder / f"{os.getpid()}.so"
        path.write_text(source, encoding="utf-8")
        kernels = re.findall(r"__global__[^{]*? (\w+)\(const (\w+) \w+\) \{", source)
        every = " ".join(f"KERNEL({name}, {arguments})" for name, arguments in kernels)
        defines = [*options, f'-DSOURCE="{path}"', f"-DEVERY_KERNEL={every}"]
        command = ["g++", *FLAGS, *defines, str(FOLDER / "cuda_on_cpu.cpp")]
        subprocess.run([*command, "-o", str(aside)], check=True)
        aside.replace(library)
    return library


def _number(source: str, options: tuple[str, ...]) -> str:
    texts = [source, *options, *FLAGS]
    texts += [
        (FOLDER / name).read_text(encoding="utf-8") for name in ("cuda_on_cpu.h", "cuda_on_cpu.cpp")
    ]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def emulate_gpu(patch: pytest.MonkeyPatch, splits: int, *, falling: bool = False) -> None:
    """Let the backend `cuda` run on CPU tensors, on an emulated GPU."""
    gpu = EmulatedGpu(falling=falling)
    patch.setattr(cuda, "gpu_of", lambda index: gpu)
    patch.setattr(cuda, "_index", lambda device: 0)
    patch.setattr(cuda, "rows_for", lambda heads, gpu: cuda.N // splits)
    available = dataclasses.replace(get_backend("cuda"), why_unavailable=lambda x, head_size: None)
    patch.setitem(registry._registry, "cuda", available)
    cuda._loaded.cache_clear()
