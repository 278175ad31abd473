"""The recurrence by the algorithm of RWKV's official trainer, for comparison.

It has the limits of the original: bfloat16, no state in or out, whole chunks of 16 steps.
"""

import ctypes
import functools
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from rwkv_music.ops.cuda import Kernels, gpu_of
from rwkv_music.ops.wkv7.decay import log_decay_gradient

N = 64
CHUNK = 16
SOURCE = Path(__file__).with_name("official_algorithm.cu")
_FORWARD = ("r", "w", "k", "v", "a", "b", "y", "saved", "removed")
_BACKWARD = (
    *_FORWARD[:6], "dy", "saved", "removed", *("dr", "dw", "dk", "dv", "da", "db")
)  # fmt: skip


class _Forward(ctypes.Structure):
    _fields_: ClassVar = [
        ("steps", ctypes.c_int64), ("heads", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in _FORWARD),
    ]  # fmt: skip


class _Backward(ctypes.Structure):
    _fields_: ClassVar = [
        ("steps", ctypes.c_int64), ("heads", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in _BACKWARD),
    ]  # fmt: skip


def official_decay(decay_logit: Tensor) -> Tensor:
    """Return the official code's `w` in bfloat16; the decay is exp(-exp(w))."""
    return (-F.softplus(-decay_logit.float()) - 0.5).bfloat16()


def decay_logit_of(w: Tensor) -> Tensor:
    """Return the decay logit, in float64, of a rounded `w`; differentiable."""
    logit: Tensor = _DecayLogit.apply(w.double())  # type: ignore[no-untyped-call] # torch's own
    return logit


class _DecayLogit(torch.autograd.Function):
    """Uses the chain rule through the log decay, since the logit is infinite at w = -1/2."""

    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:  # noqa: ANN401 - torch's
        logit = -torch.log(torch.expm1((-w - 0.5).clamp_min(1e-12)))
        ctx.save_for_backward(w, logit)
        return logit

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        w, logit = ctx.saved_tensors
        d_w: Tensor = gradient * -w.exp() / log_decay_gradient(logit)
        return d_w


def official_recurrence(
    r: Tensor, w: Tensor, k: Tensor, v: Tensor, alpha: Tensor, beta: Tensor
) -> Tensor:
    """Return the outputs for bfloat16 sequences [B, T, H, 64] and a state of zeros."""
    y: Tensor = _Recurrence.apply(r, w, k, v, alpha, beta)  # type: ignore[no-untyped-call]
    return y


@functools.cache
def _kernels(index: int) -> Kernels:
    return gpu_of(index).kernels("official-algorithm", SOURCE.read_text(encoding="utf-8"), ())


def _launch(name: str, arguments: ctypes.Structure, x: Tensor, *, shared_vectors: int) -> None:
    index = max(0, x.get_device())
    gpu = gpu_of(index)
    with gpu.current():
        _kernels(index).launch(
            name, arguments, blocks=x.shape[0] * x.shape[2], threads=N,
            shared=4 * N * shared_vectors, stream=gpu.stream(),
        )  # fmt: skip


class _Recurrence(torch.autograd.Function):
    """The forward and backward kernels as an autograd function."""

    @staticmethod
    def forward(ctx: Any, *sequences: Tensor) -> Tensor:  # noqa: ANN401 - torch's
        r = sequences[0]
        batch, steps, heads, _ = r.shape
        assert steps % CHUNK == 0
        y = torch.empty_like(r)
        saved = r.new_empty(batch * heads, steps // CHUNK, N, N, dtype=torch.float32)
        removed = torch.empty_like(r, dtype=torch.float32)
        tensors = (*sequences, y, saved, removed)
        _launch(
            "official_forward",
            _Forward(steps, heads, *(x.data_ptr() for x in tensors)),
            r,
            shared_vectors=5,
        )
        ctx.save_for_backward(*sequences, saved, removed)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        *sequences, saved, removed = ctx.saved_tensors
        dy = gradients[0].contiguous()
        gradients_out = [torch.empty_like(dy) for _ in sequences]
        steps, heads = dy.shape[1:3]
        tensors = (*sequences, dy, saved, removed, *gradients_out)
        _launch(
            "official_backward",
            _Backward(steps, heads, *(x.data_ptr() for x in tensors)),
            dy,
            shared_vectors=9,
        )
        return tuple(gradients_out)
