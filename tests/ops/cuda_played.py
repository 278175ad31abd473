"""A GPU played by the CPU: the CUDA source compiled with g++, its threads in lock step."""

import ctypes
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

from rwkv_music.ops import backends
from rwkv_music.ops.cuda import Gpu
from rwkv_music.ops.wkv7 import cuda

FOLDER = Path(__file__).parent
FLAGS = ("-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-U_FORTIFY_SOURCE")


def why_not_played() -> str | None:
    """Why this machine cannot compile the source; None if it can."""
    if sys.platform != "linux":
        return "threads are played by glibc's contexts"
    return None if shutil.which("g++") else "there is no g++"


class PlayedKernels:
    """Launches at once, and complains where a GPU would hang."""

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


class PlayedGpu(Gpu):
    """What the backend asks a GPU for; with `falling`, the last warp and block go first."""

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

    def kernels(self, name: str, source: str, options: Sequence[str]) -> PlayedKernels:
        size = 8 if "-DIO=2" in options else 4
        return PlayedKernels(compiled(source, tuple(options)), size, falling=self.falling)


@functools.cache
def compiled(source: str, options: tuple[str, ...]) -> Path:
    """The library, compiled once per session and source."""
    folder = Path(tempfile.gettempdir()) / f"rwkv-music-played-{_number(source, options)}"
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


def play(patch: pytest.MonkeyPatch, splits: int, *, falling: bool = False) -> None:
    """Have the backend `cuda` take tensors of the CPU, on a GPU played by it."""
    gpu = PlayedGpu(falling=falling)
    patch.setattr(cuda, "gpu_of", lambda index: gpu)
    patch.setattr(cuda, "_index", lambda device: 0)
    patch.setattr(cuda, "rows_for", lambda heads, gpu: cuda.N // splits)
    patch.setattr(backends, "_WHY_NOT", {**backends._WHY_NOT, "cuda": lambda x, head_size: None})
    cuda._loaded.cache_clear()
