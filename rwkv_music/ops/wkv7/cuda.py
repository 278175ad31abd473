"""The WKV recurrence on NVIDIA GPUs, with the CUDA kernels in `cuda_kernel.cu`.

The rows of a head's state are independent except for five sums in the backward pass, so that a
head can be split over 1, 2, 4 or 8 blocks and a small model fills a large GPU. The state and all
sums are float32; sequences are float32 or bfloat16.
"""

import ctypes
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from rwkv_music.ops.cuda import Gpu, Kernels, KernelUnavailable, gpu_of
from rwkv_music.ops.tensor_arguments import Sequence, address, contiguous_channels, sequence
from rwkv_music.ops.wkv7.operators import Kept, Results, define_operators

N = 64
CHUNK = 16
"""Steps between stored states, as in the CUDA source."""
ROWS = (64, 32, 16, 8)
"""Numbers of value rows of a head that a block can compute."""
DTYPE_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float64: 2}
"""The macro IO of the source; float64 is for tests on the CPU."""
SOURCES = tuple(Path(__file__).with_name(f"cuda_{name}.cu") for name in ("kernel", "backward"))
"""One source in two files."""
_INPUTS = ("r", "logit", "k", "v", "alpha", "beta")
_FINISH_BLOCKS, _FINISH_THREADS = 4096, 256


class _Forward(ctypes.Structure):
    _fields_: ClassVar = [
        ("steps", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        *((name, Sequence) for name in _INPUTS),
        *(
            (name, ctypes.c_void_p)
            for name in ("resets", "state", "y", "final_state", "starts", "removed")
        ),
    ]


class _Backward(ctypes.Structure):
    _fields_: ClassVar = [
        ("steps", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("total", ctypes.c_int64),
        *((name, Sequence) for name in (*_INPUTS, "dy")),
        *(
            (name, ctypes.c_void_p)
            for name in ("resets", "starts", "removed", "d_final_state", "d_state", "d_v")
        ),
        ("d_columns", ctypes.c_void_p * 5),
        ("partial_sums", ctypes.c_void_p),
    ]


def threads_of(rows: int) -> int:
    """Return the threads of a block for a number of rows."""
    return rows * (8 if rows == 8 else 4)


def shared_elements(rows: int, *, backward: bool) -> int:
    """Return the elements of shared memory of a block."""
    if not backward:
        stage = 4 if rows == 16 else 8
        return 2 * stage * (5 * N + rows + 1)
    history_steps = min(CHUNK, 256 // rows)
    return CHUNK * (5 * N + 3 * rows + 1) + 2 * rows + history_steps * rows * N


def rows_for(heads: int, gpu: Gpu) -> int:
    """Return the rows per block: the most that still give every multiprocessor two blocks.

    Args:
        heads: Number of heads of all sequences together.
        gpu: The GPU to fill; a block must fit its shared memory.
    """
    fitting = [
        rows for rows in ROWS if 4 * shared_elements(rows, backward=True) <= gpu.shared_memory
    ]
    filling = (rows for rows in fitting if heads * (N // rows) >= 2 * gpu.multiprocessors)
    return next(filling, fitting[-1] if fitting else ROWS[-1])


def load_kernels(device: torch.device, dtype: torch.dtype, rows: int) -> Kernels:
    """Return the kernels for a GPU, compiled and loaded once in a process.

    Raises:
        KernelUnavailable: If they cannot run there.
    """
    return _loaded(_index(device), dtype, rows)


def source_text() -> str:
    """Return the complete CUDA source."""
    return "".join(path.read_text(encoding="utf-8") for path in SOURCES)


@functools.cache
def _loaded(index: int, dtype: torch.dtype, rows: int) -> Kernels:
    options = (f"-DIO={DTYPE_CODES[dtype]}", f"-DROWS={rows}")
    return gpu_of(index).kernels(f"wkv7-{DTYPE_CODES[dtype]}-{rows}", source_text(), options)


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index


class _Launcher:
    """Launches kernels on the GPU of a tensor, with a split chosen for its sizes."""

    def __init__(self, r: Tensor) -> None:
        self.gpu = gpu_of(_index(r.device))
        self.heads = r.shape[0] * r.shape[2]
        self.rows = rows_for(self.heads, self.gpu)
        self._kernels = load_kernels(r.device, r.dtype, self.rows)
        self._size = 8 if r.dtype == torch.float64 else 4

    @property
    def splits(self) -> int:
        return N // self.rows

    def run(self, name: str, arguments: ctypes.Structure, *, backward: bool) -> None:
        """Launch one block for every part of every head."""
        shared = self._size * shared_elements(self.rows, backward=backward)
        self._launch(name, arguments, self.heads * self.splits, threads_of(self.rows), shared)

    def finish(self, arguments: "_Backward", total: int) -> None:
        """Add the partial sums of the parts of a head."""
        blocks = min(_FINISH_BLOCKS, -(-total // _FINISH_THREADS))
        self._launch("wkv7_finish", arguments, blocks, _FINISH_THREADS, 0)

    def _launch(
        self, name: str, arguments: ctypes.Structure, blocks: int, threads: int, shared: int
    ) -> None:
        with self.gpu.current():
            self._kernels.launch(
                name, arguments, blocks=blocks, threads=threads, shared=shared,
                stream=self.gpu.stream(),
            )  # fmt: skip


def _aligned(state: Tensor) -> Tensor:
    """Return the state if its rows can be read four elements at a time, or an aligned copy."""
    return state if state.data_ptr() % (4 * state.element_size()) == 0 else state.clone()


def _views(tensors: Iterable[Tensor]) -> list[Sequence]:
    return [sequence(x) for x in tensors]


def _forward(
    sequences: list[Tensor], state: Tensor, resets: Tensor | None, results: Results
) -> None:
    inputs = [contiguous_channels(x) for x in sequences]
    state = _aligned(state)
    steps, heads = inputs[0].shape[1:3]
    starts, removed = (x if x.numel() else None for x in results.kept)
    arguments = _Forward(
        steps, heads, *_views(inputs), address(resets), address(state), address(results.y),
        address(results.final_state), address(starts), address(removed),
    )  # fmt: skip
    _Launcher(inputs[0]).run("wkv7_forward", arguments, backward=False)


def _backward(
    sequences: list[Tensor],
    resets: Tensor | None,
    kept: Kept,
    dy: Tensor,
    d_final_state: Tensor | None,
    gradients: list[Tensor],
    d_state: Tensor,
) -> None:
    inputs = [contiguous_channels(x) for x in (*sequences, dy)]
    r = inputs[0]
    launcher = _Launcher(r)
    d_r, d_logit, d_k, d_v, d_alpha, d_beta = gradients
    columns = (d_r, d_k, d_beta, d_alpha, d_logit)
    d_final_state = None if d_final_state is None else _aligned(d_final_state)
    partial_sums = None
    if launcher.splits > 1:
        partial_sums = d_state.new_empty(launcher.splits * len(columns) * r.numel())
    arguments = _Backward(
        *r.shape[1:3], r.numel(), *_views(inputs), address(resets), *map(address, kept),
        address(d_final_state), address(d_state), address(d_v),
        (ctypes.c_void_p * 5)(*map(address, columns)), address(partial_sums),
    )  # fmt: skip
    launcher.run("wkv7_backward", arguments, backward=True)
    if partial_sums is not None:
        launcher.finish(arguments, r.numel())


wkv7_cuda = define_operators("wkv7_cuda", _forward, _backward, chunk=CHUNK)
"""Takes the arguments of `wkv7`; returns outputs (dtype of the sequences) and the final state."""


def require(index: int, dtype: torch.dtype) -> None:
    """Compile and load the kernels for a GPU with the smallest blocks; others are compiled on use.

    Raises:
        KernelUnavailable: If they do not run there; the message says why.
    """
    limit = gpu_of(index).shared_memory
    if limit < 4 * shared_elements(ROWS[-1], backward=True):
        raise KernelUnavailable(
            f"a block of this GPU has {limit} bytes of shared memory, but "
            f"{4 * shared_elements(ROWS[-1], backward=True)} are needed"
        )
    _loaded(index, dtype, ROWS[-1])
