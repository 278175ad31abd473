"""The WKV recurrence of RWKV-7, behind one door.

`wkv7` checks its inputs and hands them to a backend. `reference` is the truth, step by step;
`chunked` is the same in matrix products, on any device; `native` is the kernel to train with on a
CPU, `cuda` and `triton` are those for a GPU. The environment variable `RWKV_MUSIC_WKV` forces one.
"""

from collections.abc import Callable
from functools import reduce

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.ops.backends import available_backends, choose_backend
from rwkv_music.ops.checks import check_finite
from rwkv_music.ops.wkv7.chunked import wkv7_chunked
from rwkv_music.ops.wkv7.cuda import wkv7_cuda
from rwkv_music.ops.wkv7.native import wkv7_native
from rwkv_music.ops.wkv7.reference import wkv7_reference
from rwkv_music.ops.wkv7.triton import wkv7_triton

__all__ = ["available_backends", "wkv7"]

_BACKENDS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "cuda": wkv7_cuda,
    "triton": wkv7_triton,
    "native": wkv7_native,
    "chunked": wkv7_chunked,
    "reference": wkv7_reference,
}
_NARROW = ("cuda", "triton", "native")
"""Those that read and write bfloat16 themselves."""


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

    Under autocast the sequences may differ in dtype; the widest among them is taken.

    Args:
        r: Receptance, which reads the state.
        decay_logit: The state's decay is exp(-exp(-1/2) sigmoid(decay_logit)) per key channel.
        k: Keys under which values are written.
        v: Values.
        alpha: Removal keys (in the model, minus the normalised key).
        beta: Replacement keys (in the model, the normalised key times the in-context rate).
        state: [batch, head, value, key] before the first step; zeros when None.
        resets: True where a sequence begins anew: the state is zeros before that step.
        backend: One of `available_backends`; by default the first that can take these tensors.
        check: Refuse inputs that are not finite numbers. Costs a pass over each.

    Returns:
        The outputs in the dtype of `r`, and the state after the last step in float32 (float64 for
        float64 inputs). Gradients flow through both, and into `state`.

    Raises:
        InputError: If shapes, dtypes or devices do not fit, if the backend is unknown or cannot
            take them, or with `check` if a number is not finite.

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
        widest = reduce(torch.promote_types, (each.dtype for each in sequences.values()))
        sequences = {name: each.to(widest) for name, each in sequences.items()}
    _check_sequences(sequences)
    _check_companions(r, state, resets)
    if check:
        check_finite(sequences if state is None else {**sequences, "state": state})
    batch, _, heads, width = r.shape
    dtype = sequences["r"].dtype
    precision = torch.float64 if dtype == torch.float64 else torch.float32
    if state is None:
        state = torch.zeros(batch, heads, width, width, dtype=precision, device=r.device)
    name = choose_backend(sequences["r"], width, backend)
    with torch.autocast(r.device.type, enabled=False):
        narrow = name in _NARROW
        ready = [each if narrow else each.to(precision) for each in sequences.values()]
        y, final_state = _BACKENDS[name](*ready, state.to(precision), resets)
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
            raise InputError(f"{name} is on {tensor.device}, r on {first.device}: move one")
    if not first.numel():
        raise InputError(
            f"wkv7 needs at least one sequence, step and head, got r of {list(first.shape)}"
        )


def _check_companions(r: Tensor, state: Tensor | None, resets: Tensor | None) -> None:
    batch, steps, heads, width = r.shape
    if state is not None and state.shape != (batch, heads, width, width):
        raise InputError(
            f"state must be [B, H, N, N] = {[batch, heads, width, width]} for r of "
            f"{list(r.shape)}, got {list(state.shape)}"
        )
    if resets is not None and (resets.shape != (batch, steps) or resets.dtype != torch.bool):
        raise InputError(
            f"resets must be [B, T] = {[batch, steps]} of bool for r of {list(r.shape)}, got "
            f"{list(resets.shape)} of {resets.dtype}"
        )
    for name, tensor in (("state", state), ("resets", resets)):
        if tensor is not None and tensor.device != r.device:
            raise InputError(f"{name} is on {tensor.device}, r on {r.device}: move one")
