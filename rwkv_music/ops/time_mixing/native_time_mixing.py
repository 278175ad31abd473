"""The native implementation of `mix_heads`, as a torch operator with its backward."""

import ctypes
from collections.abc import Sequence as Many
from typing import Any, ClassVar

import torch
from torch import Tensor

from rwkv_music.native import load_library
from rwkv_music.ops.backends import HEAD_SIZE
from rwkv_music.ops.checks import check_shape
from rwkv_music.ops.direct_calls import can_call_directly
from rwkv_music.ops.tensor_arguments import (
    Sequence,
    Sizes,
    address,
    contiguous,
    contiguous_channels,
    sequence,
    sizes_of,
)

_CHUNK = 32
"""Steps between stored states, as in `recurrence.h`."""
_PARAMETERS = 8
"""Number of vectors in `HeadParameters`."""
_NAMES = ("r", "decay", "k", "v", "rate", "gate")
_OPTIONAL = ("residual", "value_first")


class _Forward(ctypes.Structure):
    _fields_: ClassVar = [
        ("sizes", Sizes),
        *((name, Sequence) for name in (*_NAMES, "out", *_OPTIONAL)),
        *(
            (name, ctypes.c_void_p)
            for name in ("resets", "parameters", "state", "final_state", "starts", "removed", "y")
        ),
    ]


class _Backward(ctypes.Structure):
    _fields_: ClassVar = [
        ("forward", _Forward),
        *((f"d_{name}", Sequence) for name in ("out", *_NAMES, *_OPTIONAL)),
        *((name, ctypes.c_void_p) for name in ("d_parameters", "d_final_state", "d_state")),
    ]


def mix_heads_native(
    r: Tensor,
    decay: Tensor,
    k: Tensor,
    v: Tensor,
    rate: Tensor,
    gate: Tensor,
    residual: Tensor | None,
    value_first: Tensor | None,
    parameters: Tensor,
    state: Tensor,
    resets: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return outputs in the dtype of the sequences, and the final state.

    Takes the arguments of `mix_heads`: the fields of `TimeMixingInputs` and
    `HeadParameters.by_head`.

    Raises:
        InputError: If a shape does not match.
    """
    sequences = [r, decay, k, v, rate, gate]
    if residual is not None and value_first is not None:
        sequences += [residual, value_first]
    sequences = [x.to(r.dtype) for x in sequences]
    batch, steps, channels = r.shape
    heads = channels // HEAD_SIZE
    for name, x in zip((*_NAMES, *_OPTIONAL), sequences, strict=False):
        check_shape(name, x, batch, steps, channels)
    check_shape("parameters", parameters, heads, _PARAMETERS, HEAD_SIZE)
    check_shape("state", state, batch, heads, HEAD_SIZE, HEAD_SIZE)
    check_shape("resets", resets, batch, steps)
    compute_dtype = torch.float64 if r.dtype == torch.float64 else torch.float32
    parameters, state = parameters.to(compute_dtype), state.to(compute_dtype)
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in (*sequences, parameters, state))
    run = _mix_heads_directly if can_call_directly(r) else torch.ops.rwkv_music.mix_heads
    out, final_state, *_ = run(
        sequences, parameters.contiguous(), state.contiguous(), contiguous(resets), keep
    )
    return out, final_state


def _mix_heads_directly(
    sequences: Many[Tensor],
    parameters: Tensor,
    state: Tensor,
    resets: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return outputs, final state, and with `keep` the tensors saved for the backward pass."""
    sequences = [contiguous_channels(x) for x in sequences]
    results = _empty_results(sequences, state, keep=keep)
    arguments = _forward_arguments(sequences, parameters, state, resets, results)
    load_library().call("time_mixing_forward", arguments)
    return results


def _empty_results(
    sequences: Many[Tensor], state: Tensor, *, keep: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, heads, head_size, _ = state.shape
    steps = sequences[0].shape[1] if keep else 0
    starts = state.new_empty(batch, heads, -(-steps // _CHUNK), head_size, head_size)
    removed, y = (state.new_empty(batch, heads, steps, head_size) for _ in range(2))
    out = sequences[0].new_empty(sequences[0].shape)
    return out, torch.empty_like(state), starts, removed, y


def _forward_arguments(
    sequences: Many[Tensor],
    parameters: Tensor,
    state: Tensor | None,
    resets: Tensor | None,
    results: tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor],
) -> _Forward:
    out, final_state, *kept = results
    heads = parameters.shape[0]
    return _Forward(
        sizes_of(_in_heads(out, heads)),
        *_structures([*sequences[:6], out, *sequences[6:]], heads, count=9),
        address(resets),
        address(parameters),
        address(state),
        address(final_state),
        *(address(x) if x.numel() else None for x in kept),
    )


def _structures(tensors: Many[Tensor], heads: int, *, count: int) -> list[Sequence]:
    """Return `count` structures; missing tensors have a null pointer."""
    structures = [sequence(_in_heads(x, heads)) for x in tensors]
    return structures + [Sequence()] * (count - len(structures))


def _in_heads(x: Tensor, heads: int) -> Tensor:
    return x.view(*x.shape[:-1], heads, -1)


_mix_heads = torch.library.custom_op("rwkv_music::mix_heads", mutates_args=(), device_types="cpu")(
    _mix_heads_directly
)


@_mix_heads.register_fake
def _(
    sequences: Many[Tensor], parameters: Tensor, state: Tensor, resets: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    return _empty_results(sequences, state, keep=keep)


@torch.library.custom_op("rwkv_music::mix_heads_backward", mutates_args=(), device_types="cpu")
def _mix_heads_backward(
    d_out: Tensor,
    d_final_state: Tensor,
    sequences: Many[Tensor],
    parameters: Tensor,
    resets: Tensor | None,
    starts: Tensor,
    removed: Tensor,
    y: Tensor,
) -> list[Tensor]:
    """Return gradients of the sequences, the parameters and the initial state."""
    sequences = [contiguous_channels(x) for x in sequences]
    d_out, d_final_state = contiguous_channels(d_out), d_final_state.contiguous()
    gradients = [x.new_empty(x.shape) for x in sequences]
    partial_sums = parameters.new_empty(d_out.shape[0], *parameters.shape)
    d_state = torch.empty_like(d_final_state)
    arguments = _Backward(
        _forward_arguments(sequences, parameters, None, resets, (d_out, None, starts, removed, y)),
        *_structures([d_out, *gradients], parameters.shape[0], count=9),
        *map(address, (partial_sums, d_final_state, d_state)),
    )
    load_library().call("time_mixing_backward", arguments)
    return [*gradients, partial_sums.sum(0), d_state]


@_mix_heads_backward.register_fake
def _(
    d_out: Tensor, d_final_state: Tensor, sequences: Many[Tensor], parameters: Tensor,
    resets: Tensor | None, starts: Tensor, removed: Tensor, y: Tensor,
) -> list[Tensor]:  # fmt: skip
    gradients = [x.new_empty(x.shape) for x in sequences]
    return [*gradients, torch.empty_like(parameters), d_final_state.new_empty(d_final_state.shape)]


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401
    sequences, parameters, _, resets, _ = inputs
    kept = output[2:]
    ctx.mark_non_differentiable(*kept)
    ctx.set_materialize_grads(False)  # or it allocates zeros for the saved tensors
    ctx.save_for_backward(*sequences, parameters, resets, *kept)


def _gradients(
    ctx: Any,  # noqa: ANN401 - torch's
    d_out: Tensor | None,
    d_final_state: Tensor | None,
    *_kept: Tensor | None,
) -> tuple[Any, ...]:
    *sequences, parameters, resets, starts, removed, y = ctx.saved_tensors
    d_out = torch.zeros_like(sequences[0]) if d_out is None else d_out
    if d_final_state is None:
        d_final_state = torch.zeros_like(starts[:, :, 0])
    *d_sequences, d_parameters, d_state = torch.ops.rwkv_music.mix_heads_backward(
        d_out, d_final_state, sequences, parameters, resets, starts, removed, y
    )
    return d_sequences, d_parameters, d_state, None, None


_mix_heads.register_autograd(_gradients, setup_context=_save_for_backward)
