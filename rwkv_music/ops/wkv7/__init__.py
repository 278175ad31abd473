"""The WKV recurrence of RWKV-7: one function over several backends.

`wkv7` checks its inputs and calls a backend. `reference` computes it step by step and defines the
correct result; `chunked` computes it with matrix products on any device; `native` is the CPU
kernel, `cuda` and `triton` are the GPU kernels. The variable `RWKV_MUSIC_WKV` forces one.
"""

from functools import reduce

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.ops.backends import (
    available_backends,
    choose_backend,
    why_not_cuda,
    why_not_native,
    why_not_triton,
)
from rwkv_music.ops.checks import check_finite
from rwkv_music.ops.registry import Backend, get_backend, register_backend
from rwkv_music.ops.wkv7.chunked import wkv7_chunked
from rwkv_music.ops.wkv7.cuda import wkv7_cuda
from rwkv_music.ops.wkv7.native_wkv7 import wkv7_native
from rwkv_music.ops.wkv7.reference import wkv7_reference
from rwkv_music.ops.wkv7.triton import wkv7_triton

__all__ = ["available_backends", "wkv7"]

register_backend(Backend("cuda", wkv7_cuda, why_not_cuda, reads_bfloat16=True))
register_backend(Backend("triton", wkv7_triton, why_not_triton, reads_bfloat16=True))
register_backend(Backend("native", wkv7_native, why_not_native, reads_bfloat16=True))
register_backend(Backend("chunked", wkv7_chunked))
register_backend(Backend("reference", wkv7_reference))


def wkv7(
    r: Float[Tensor, "B T H N"],
    decay_logit: Float[Tensor, "B T H N"],
    k: Float[Tensor, "B T H N"],
    v: Float[Tensor, "B T H N"],
    alpha: Float[Tensor, "B T H N"],
    beta: Float[Tensor, "B T H N"],
    state: Float[Tensor, "B H N N"] | None = None,
    *,
    resets: Bool[Tensor, "B T"] | None = None,
    backend: str | None = None,
    check: bool = False,
) -> tuple[Float[Tensor, "B T H N"], Float[Tensor, "B H N N"]]:
    """Run the recurrence over T steps.

    Under autocast the sequences may differ in dtype; the widest of their dtypes is used.

    Args:
        r: Receptance, the vector that reads from the state.
        decay_logit: The state's decay is exp(-exp(-1/2) sigmoid(decay_logit)) per key channel.
        k: Keys that values are written to.
        v: Values.
        alpha: Removal keys (in the model, minus the normalised key).
        beta: Replacement keys (in the model, the normalised key times the in-context rate).
        state: State before the first step, [batch, head, value, key]; zeros when None.
        resets: True at the first step of a new sequence: the state is set to zeros before it.
        backend: Name of a backend (see `available_backends`, `register_backend`); by default the
            first that can take these tensors.
        check: Raise if an input is not finite. Costs one pass over each input.

    Returns:
        The outputs in the dtype of `r`, and the state after the last step in float32 (float64 for
        float64 inputs). Both are differentiable, also with respect to `state`.

    Raises:
        InputError: If shapes, dtypes or devices do not match, if the backend is unknown or cannot
            take the tensors, or with `check` if an input is not finite.

    Example:
        >>> x = torch.zeros(1, 5, 2, 64)
        >>> y, state = wkv7(x, x, x, x, x, x)
        >>> y.shape, state.shape
        (torch.Size([1, 5, 2, 64]), torch.Size([1, 2, 64, 64]))
    """
    sequences = {
        "r": r, "decay_logit": decay_logit, "k": k, "v": v, "alpha": alpha, "beta": beta
    }  # fmt: skip
    if torch.is_autocast_enabled(r.device.type):
        widest = reduce(torch.promote_types, (x.dtype for x in sequences.values()))
        sequences = {name: x.to(widest) for name, x in sequences.items()}
    _check_sequences(sequences)
    _check_state_and_resets(r, state, resets)
    if check:
        check_finite(sequences if state is None else {**sequences, "state": state})
    batch, _, heads, head_size = r.shape
    dtype = sequences["r"].dtype
    state_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    if state is None:
        state = torch.zeros(batch, heads, head_size, head_size, dtype=state_dtype, device=r.device)
    chosen = get_backend(choose_backend(sequences["r"], head_size, backend))
    with torch.autocast(r.device.type, enabled=False):
        inputs = [x if chosen.reads_bfloat16 else x.to(state_dtype) for x in sequences.values()]
        y, final_state = chosen.recurrence(*inputs, state.to(state_dtype), resets)
    return y.to(dtype), final_state


def _check_sequences(sequences: dict[str, Tensor]) -> None:
    first = sequences["r"]
    for name, tensor in sequences.items():
        if tensor.shape != first.shape or tensor.ndim != 4:
            raise InputError(
                f"{name} must be [B, T, H, N] like r ({list(first.shape)}), got "
                f"{list(tensor.shape)}"
            )
        if tensor.dtype != first.dtype or not tensor.is_floating_point():
            raise InputError(
                f"{name} must have the floating-point dtype of r ({first.dtype}), got "
                f"{tensor.dtype}"
            )
        if tensor.device != first.device:
            raise InputError(f"{name} is on {tensor.device}, r on {first.device}: move one of them")
    if not first.numel():
        raise InputError(
            f"wkv7 needs at least one sequence, step and head, got r of {list(first.shape)}"
        )


def _check_state_and_resets(r: Tensor, state: Tensor | None, resets: Tensor | None) -> None:
    batch, steps, heads, head_size = r.shape
    if state is not None and state.shape != (batch, heads, head_size, head_size):
        raise InputError(
            f"state must be [B, H, N, N] = {[batch, heads, head_size, head_size]} for r of "
            f"{list(r.shape)}, got {list(state.shape)}"
        )
    if resets is not None and (resets.shape != (batch, steps) or resets.dtype != torch.bool):
        raise InputError(
            f"resets must be [B, T] = {[batch, steps]} of bool for r of {list(r.shape)}, got "
            f"{list(resets.shape)} of {resets.dtype}"
        )
    for name, tensor in (("state", state), ("resets", resets)):
        if tensor is not None and tensor.device != r.device:
            raise InputError(f"{name} is on {tensor.device}, r on {r.device}: move one of them")
