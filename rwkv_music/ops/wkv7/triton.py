"""The WKV recurrence in Triton, for GPUs without the CUDA kernel, including AMD and Intel.

The same algorithm as `cuda_kernel.cu`, with the states of a chunk in a separate buffer. It is
portable rather than fast.
"""

import torch
from torch import Tensor

from rwkv_music.ops.cuda import KernelUnavailable
from rwkv_music.ops.wkv7.decay import DECAY_RATE, log_decay
from rwkv_music.ops.wkv7.operators import Kept, Results, define_operators

N = 64
CHUNK = 16
"""Steps between two stored states."""
ROWS = 16
"""Value rows of a head that one program computes."""
_SPLITS = N // ROWS


def _forward(
    sequences: list[Tensor], state: Tensor, resets: Tensor | None, results: Results
) -> None:
    from rwkv_music.ops.wkv7 import triton_kernels

    ready = [x.contiguous() for x in sequences]
    r = ready[0]
    batch, steps, heads, _ = r.shape
    keep = bool(results.kept.starts.numel())
    with _on_device(r):
        triton_kernels.forward[(batch * heads * _SPLITS,)](
            *ready, r if resets is None else resets, state, results.y, results.final_state,
            *results.kept, steps, heads, resets is not None, keep, ROWS, N, CHUNK,
        )  # fmt: skip


def _backward(
    sequences: list[Tensor],
    resets: Tensor | None,
    kept: Kept,
    dy: Tensor,
    d_final_state: Tensor | None,
    gradients: list[Tensor],
    d_state: Tensor,
) -> None:
    from rwkv_music.ops.wkv7 import triton_kernels

    ready = [x.contiguous() for x in (*sequences, dy)]
    r, logit = ready[:2]
    batch, steps, heads, _ = r.shape
    d_r, d_logit, d_k, d_v, d_alpha, d_beta = gradients
    programs = batch * heads * _SPLITS
    partial_sums = d_state.new_empty(_SPLITS, 5, *r.shape)
    history = d_state.new_empty(programs, CHUNK, ROWS, N)
    with _on_device(r):
        triton_kernels.backward[(programs,)](
            *ready, r if resets is None else resets, *kept,
            r if d_final_state is None else d_final_state, d_state, d_v, partial_sums, history,
            steps, heads, r.numel(), resets is not None, d_final_state is not None, ROWS, N, CHUNK,
        )  # fmt: skip
    sums = partial_sums.sum(0)
    for gradient, total in zip((d_r, d_k, d_beta, d_alpha), sums, strict=False):
        gradient.copy_(total)
    x = logit.to(sums.dtype)
    slope = DECAY_RATE * log_decay(x).exp() * torch.sigmoid(x) * torch.sigmoid(-x)
    d_logit.copy_(sums[4] * slope)


def _on_device(x: Tensor) -> torch.cuda.device:
    """Make the GPU of `x` current, where Triton launches; -1, for a CPU, changes nothing."""
    return torch.cuda.device(x.get_device() if x.is_cuda else -1)


wkv7_triton = define_operators("wkv7_triton", _forward, _backward, chunk=CHUNK)
"""Takes the arguments of `wkv7`; returns outputs (dtype of the sequences) and the final state."""


def require(index: int, dtype: torch.dtype) -> None:
    """Compile and run the kernels once on a GPU.

    Raises:
        KernelUnavailable: If they do not run there; the message says why.
    """
    try:
        import triton  # noqa: F401
    except ImportError as error:
        raise KernelUnavailable(
            "Triton is not installed: pip install triton (on Windows triton-windows)"
        ) from error
    x = torch.zeros(1, 1, 1, N, dtype=dtype, device=f"cuda:{index}").requires_grad_()
    state = torch.zeros(1, 1, N, N, device=x.device)
    try:
        wkv7_triton(x, x, x, x, x, x, state, None)[0].sum().backward()
        torch.cuda.synchronize(index)
    except Exception as error:  # Triton's tools raise many types
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise KernelUnavailable(
            f"Triton could not compile the kernel ({lines[-1].strip()}); if it reports a missing C "
            "compiler, install one"
        ) from error
