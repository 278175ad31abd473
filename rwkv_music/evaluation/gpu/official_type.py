"""The recurrence by the official trainer's published algorithm, to compare with.

Only what it offers: bfloat16, no state in or out, whole chunks of 16 steps.
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
SOURCE = Path(__file__).with_name("official_type.cu")
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
    """The `w` of the official code, whose decay is exp(-exp(w)), in bfloat16."""
    return (-F.softplus(-decay_logit.float()) - 0.5).bfloat16()


def logit_of(w: Tensor) -> Tensor:
    """The decay logit, in float64, that gives the decay of a rounded `w`; differentiable."""
    logit: Tensor = _LogitOf.apply(w.double())  # type: ignore[no-untyped-call] # torch's own
    return logit


class _LogitOf(torch.autograd.Function):
    """By the chain rule through the log decay: where w rounds to -1/2, the logit has no end."""

    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:  # noqa: ANN401 - torch's
        logit = -torch.log(torch.expm1((-w - 0.5).clamp_min(1e-12)))
        ctx.save_for_backward(w, logit)
        return logit

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        w, logit = ctx.saved_tensors
        found: Tensor = gradient * -w.exp() / log_decay_gradient(logit)
        return found


def official_recurrence(
    r: Tensor, w: Tensor, k: Tensor, v: Tensor, alpha: Tensor, beta: Tensor
) -> Tensor:
    """Outputs of bfloat16 sequences [B, T, H, 64] from a state of zeros."""
    y: Tensor = _Recurrence.apply(r, w, k, v, alpha, beta)  # type: ignore[no-untyped-call]
    return y


@functools.cache
def _kernels(index: int) -> Kernels:
    return gpu_of(index).kernels("official-type", SOURCE.read_text(encoding="utf-8"), ())


def _launch(name: str, arguments: ctypes.Structure, x: Tensor, *, vectors: int) -> None:
    index = max(0, x.get_device())
    gpu = gpu_of(index)
    with gpu.current():
        _kernels(index).launch(
            name, arguments, blocks=x.shape[0] * x.shape[2], threads=N, shared=4 * N * vectors,
            stream=gpu.stream(),
        )  # fmt: skip


class _Recurrence(torch.autograd.Function):
    """Forward and backward of the kernels."""

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
            _Forward(steps, heads, *(each.data_ptr() for each in tensors)),
            r,
            vectors=5,
        )
        ctx.save_for_backward(*sequences, saved, removed)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        *sequences, saved, removed = ctx.saved_tensors
        dy = gradients[0].contiguous()
        found = [torch.empty_like(dy) for _ in sequences]
        steps, heads = dy.shape[1:3]
        tensors = (*sequences, dy, saved, removed, *found)
        _launch(
            "official_backward",
            _Backward(steps, heads, *(each.data_ptr() for each in tensors)),
            dy,
            vectors=9,
        )
        return tuple(found)
