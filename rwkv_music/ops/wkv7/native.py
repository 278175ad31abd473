"""The WKV recurrence in the native library, as one torch operator with its backward.

The kernel walks over time with the state in the processor's cache, each head on its own. For the
backward it keeps the state before every 32nd step and S alpha of every step, and computes the
states between again: dividing by the decay to step backwards would amplify rounding errors.

It computes in float32 (float64 for float64 inputs); sequences may be float32 or bfloat16. Torch
sees opaque operators with shapes and gradients, so that `torch.compile` keeps its graph whole.
"""

import ctypes
from functools import reduce
from typing import Any, ClassVar

import torch
from torch import Tensor

from rwkv_music.ops.native import load_library
from rwkv_music.ops.native.arguments import (
    Sequence,
    Sizes,
    address,
    channels_together,
    contiguous,
    sequence,
    sizes_of,
)

CHUNK = 32
"""Steps between two stored states."""


class _Forward(ctypes.Structure):
    _fields_: ClassVar = [
        ("sizes", Sizes),
        *((name, Sequence) for name in ("r", "decay_logit", "k", "v", "alpha", "beta", "y")),
        *(
            (name, ctypes.c_void_p)
            for name in ("resets", "state", "final_state", "starts", "removed")
        ),
    ]


class _Backward(ctypes.Structure):
    _fields_: ClassVar = [
        ("forward", _Forward),
        *(
            (name, Sequence)
            for name in ("dy", "d_r", "d_decay_logit", "d_k", "d_v", "d_alpha", "d_beta")
        ),
        *((name, ctypes.c_void_p) for name in ("d_final_state", "d_state")),
    ]


def wkv7_native(
    r: Tensor,
    decay_logit: Tensor,
    k: Tensor,
    v: Tensor,
    alpha: Tensor,
    beta: Tensor,
    state: Tensor,
    resets: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Outputs in the dtype of the sequences, and the final state. Takes what `wkv7` takes."""
    inputs = (r, decay_logit, k, v, alpha, beta, state)
    keep = torch.is_grad_enabled() and any(each.requires_grad for each in inputs)
    y, final_state, _, _ = torch.ops.rwkv_music.wkv7(
        *inputs[:6], state.contiguous(), contiguous(resets), keep
    )
    return y, final_state


@torch.library.custom_op("rwkv_music::wkv7", mutates_args=(), device_types="cpu")
def _wkv7(
    r: Tensor,
    decay_logit: Tensor,
    k: Tensor,
    v: Tensor,
    alpha: Tensor,
    beta: Tensor,
    state: Tensor,
    resets: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Outputs, final state, and with `keep` what the backward needs."""
    sequences = [channels_together(each) for each in (r, decay_logit, k, v, alpha, beta)]
    results = _empty_results(r, state, keep=keep)
    load_library().call("wkv7_forward", _forward_arguments(sequences, state, resets, results))
    return results


def _empty_results(
    r: Tensor, state: Tensor, *, keep: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch, steps, heads, width = r.shape
    chunks = -(-steps // CHUNK)
    y = r.new_empty(r.shape)
    final_state = state.new_empty(state.shape)
    starts = state.new_empty(batch, heads, chunks if keep else 0, width, width)
    removed = state.new_empty(batch, heads, steps if keep else 0, width)
    return y, final_state, starts, removed


def _forward_arguments(
    sequences: list[Tensor],
    state: Tensor | None,
    resets: Tensor | None,
    results: tuple[Tensor, Tensor | None, Tensor, Tensor],
) -> _Forward:
    y, final_state, starts, removed = results
    return _Forward(
        sizes_of(y),
        *map(sequence, (*sequences, y)),
        address(resets),
        address(state),
        address(final_state),
        address(starts) if starts.numel() else None,
        address(removed) if removed.numel() else None,
    )


def _under_autocast(
    r: Tensor, decay_logit: Tensor, k: Tensor, v: Tensor, alpha: Tensor, beta: Tensor,
    state: Tensor, resets: Tensor | None, keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Sequences in the widest dtype among them; the state in what is computed in, never less."""
    sequences = (r, decay_logit, k, v, alpha, beta)
    widest = reduce(torch.promote_types, (each.dtype for each in sequences))
    computed_in = torch.float64 if widest == torch.float64 else torch.float32
    with torch.autocast("cpu", enabled=False):
        found: tuple[Tensor, Tensor, Tensor, Tensor] = torch.ops.rwkv_music.wkv7(
            *(each.to(widest) for each in sequences), state.to(computed_in), resets, keep
        )
    return found


# `register_autocast` would cast the state as well.
_LIBRARY = torch.library.Library("rwkv_music", "FRAGMENT")
_LIBRARY.impl("wkv7", _under_autocast, "AutocastCPU")


@_wkv7.register_fake
def _(
    r: Tensor, decay_logit: Tensor, k: Tensor, v: Tensor, alpha: Tensor, beta: Tensor,
    state: Tensor, resets: Tensor | None, keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    return _empty_results(r, state, keep=keep)


@torch.library.custom_op("rwkv_music::wkv7_backward", mutates_args=(), device_types="cpu")
def _wkv7_backward(
    dy: Tensor,
    d_final_state: Tensor,
    r: Tensor,
    decay_logit: Tensor,
    k: Tensor,
    v: Tensor,
    alpha: Tensor,
    beta: Tensor,
    resets: Tensor | None,
    starts: Tensor,
    removed: Tensor,
) -> list[Tensor]:
    """Gradients of the six sequences and of the initial state."""
    sequences = [channels_together(each) for each in (r, decay_logit, k, v, alpha, beta)]
    dy, d_final_state = channels_together(dy), d_final_state.contiguous()
    gradients = [torch.empty_like(r, memory_format=torch.contiguous_format) for _ in range(6)]
    d_state = torch.empty_like(d_final_state)
    forward = _forward_arguments(sequences, None, resets, (dy, None, starts, removed))
    arguments = _Backward(
        forward, *map(sequence, (dy, *gradients)), address(d_final_state), address(d_state)
    )
    load_library().call("wkv7_backward", arguments)
    return [*gradients, d_state]


@_wkv7_backward.register_fake
def _(
    dy: Tensor, d_final_state: Tensor, r: Tensor, decay_logit: Tensor, k: Tensor, v: Tensor,
    alpha: Tensor, beta: Tensor, resets: Tensor | None, starts: Tensor, removed: Tensor,
) -> list[Tensor]:  # fmt: skip
    return [*(r.new_empty(r.shape) for _ in range(6)), d_final_state.new_empty(d_final_state.shape)]


def _keep_for_backward(
    ctx: Any,  # noqa: ANN401 - torch's
    inputs: tuple[Any, ...],
    output: tuple[Tensor, ...],
) -> None:
    *sequences, _, resets, _ = inputs
    _, _, starts, removed = output
    ctx.mark_non_differentiable(starts, removed)
    ctx.set_materialize_grads(False)  # else it fills tensors of zeros for what is kept
    ctx.save_for_backward(*sequences, resets, starts, removed)


def _gradients(
    ctx: Any,  # noqa: ANN401 - torch's
    dy: Tensor | None,
    d_final_state: Tensor | None,
    *_kept: Tensor | None,
) -> tuple[Tensor | None, ...]:
    *sequences, resets, starts, removed = ctx.saved_tensors
    dy = torch.zeros_like(sequences[0]) if dy is None else dy
    if d_final_state is None:
        d_final_state = torch.zeros_like(starts[:, :, 0])
    found = torch.ops.rwkv_music.wkv7_backward(
        dy, d_final_state, *sequences, resets, starts, removed
    )
    return (*found, None, None)


_wkv7.register_autograd(_gradients, setup_context=_keep_for_backward)
