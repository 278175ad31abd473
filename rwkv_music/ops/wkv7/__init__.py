"""The WKV recurrence of RWKV-7, behind one door.

`wkv7` checks its inputs and hands them to a backend. `reference` is the truth, step by step;
`chunked` is the same in matrix products and the one to train with. The environment variable
`RWKV_MUSIC_WKV` forces one of them.
"""

import os
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.ops.wkv7.chunked import wkv7_chunked
from rwkv_music.ops.wkv7.reference import wkv7_reference

__all__ = ["available_backends", "wkv7"]

_BACKENDS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "chunked": wkv7_chunked,
    "reference": wkv7_reference,
}
"""In order of preference."""


def available_backends() -> list[str]:
    """Names of the backends that work on this machine, the preferred one first."""
    return list(_BACKENDS)


def wkv7(
    r: Float[Tensor, "B T H N"],
    decay_logit: Float[Tensor, "B T H N"],
    k: Float[Tensor, "B T H N"],
    v: Float[Tensor, "B T H N"],
    alpha: Float[Tensor, "B T H N"],
    beta: Float[Tensor, "B T H N"],
    state: Float[Tensor, "B H N N"] | None = None,
    *,
    backend: str | None = None,
) -> tuple[Float[Tensor, "B T H N"], Float[Tensor, "B H N N"]]:
    """Run the recurrence over T steps.

    Args:
        r: Receptance, which reads the state.
        decay_logit: The state's decay is exp(-exp(-1/2) sigmoid(decay_logit)) per key channel.
        k: Keys under which values are written.
        v: Values.
        alpha: Removal keys (in the model, minus the normalised key).
        beta: Replacement keys (in the model, the normalised key times the in-context rate).
        state: [batch, head, value, key] before the first step; zeros when None.
        backend: One of `available_backends`, or the preferred one.

    Returns:
        The outputs in the dtype of `r`, and the state after the last step in float32 (float64 for
        float64 inputs). Gradients flow through both, and into `state`.

    Raises:
        InputError: If shapes or dtypes do not fit, or the backend is unknown.

    Example:
        >>> x = torch.zeros(1, 5, 2, 64)
        >>> y, state = wkv7(x, x, x, x, x, x)
        >>> y.shape, state.shape
        (torch.Size([1, 5, 2, 64]), torch.Size([1, 2, 64, 64]))
    """
    sequences = {
        "r": r, "decay_logit": decay_logit, "k": k, "v": v, "alpha": alpha, "beta": beta
    }  # fmt: skip
    _check_sequences(sequences)
    batch, _, heads, width = r.shape
    precision = torch.float64 if r.dtype == torch.float64 else torch.float32
    if state is None:
        state = torch.zeros(batch, heads, width, width, dtype=precision, device=r.device)
    elif state.shape != (batch, heads, width, width):
        raise InputError(
            f"state must be [B, H, N, N] = {[batch, heads, width, width]} for r of "
            f"{list(r.shape)}, got {list(state.shape)}"
        )
    run = _BACKENDS[_choose(backend)]
    with torch.autocast(r.device.type, enabled=False):
        y, final_state = run(
            *(each.to(precision) for each in sequences.values()), state.to(precision)
        )
    return y.to(r.dtype), final_state


def _choose(backend: str | None) -> str:
    name = backend or os.environ.get("RWKV_MUSIC_WKV") or available_backends()[0]
    if name not in _BACKENDS:
        raise InputError(
            f"there is no WKV backend '{name}' here: choose one of {', '.join(_BACKENDS)}"
        )
    return name


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
    if not first.shape[1]:
        raise InputError(f"wkv7 needs at least one step, got r of {list(first.shape)}")
