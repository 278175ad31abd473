"""The WKV recurrence in the native library, as a torch operator with its backward.

The kernel runs over time for each head with the state in the processor's cache. For the backward
pass it stores the state before every 32nd step and S alpha of every step, and recomputes the states
in between: stepping back by dividing by the decay would amplify rounding errors.

It computes in float32 (float64 for float64 inputs); sequences may be float32 or bfloat16. The
operators are opaque to torch, with shapes and gradients, so that `torch.compile` gets one graph.
"""

import ctypes
from functools import reduce
from typing import ClassVar

import torch
from torch import Tensor

from rwkv_music.native import load_library
from rwkv_music.ops.tensor_arguments import (
    Sequence,
    Sizes,
    address,
    contiguous_channels,
    sequence,
    sizes_of,
)
from rwkv_music.ops.wkv7.operators import Kept, Results, define_operators

CHUNK = 32
"""Steps between stored states."""


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


def _forward(
    sequences: list[Tensor], state: Tensor, resets: Tensor | None, results: Results
) -> None:
    sequences = [contiguous_channels(x) for x in sequences]
    arguments = _forward_arguments(sequences, state, resets, results.y, results.kept)
    arguments.final_state = address(results.final_state)
    load_library().call("wkv7_forward", arguments)


def _forward_arguments(
    sequences: list[Tensor], state: Tensor | None, resets: Tensor | None, y: Tensor, kept: Kept
) -> _Forward:
    return _Forward(
        sizes_of(y),
        *map(sequence, (*sequences, y)),
        address(resets),
        address(state),
        None,
        *(address(x) if x.numel() else None for x in kept),
    )


def _backward(
    sequences: list[Tensor],
    resets: Tensor | None,
    kept: Kept,
    dy: Tensor,
    d_final_state: Tensor | None,
    gradients: list[Tensor],
    d_state: Tensor,
) -> None:
    sequences = [contiguous_channels(x) for x in sequences]
    dy = contiguous_channels(dy)
    if d_final_state is None:
        d_final_state = torch.zeros_like(d_state)
    arguments = _Backward(
        _forward_arguments(sequences, None, resets, dy, kept),
        *map(sequence, (dy, *gradients)),
        address(d_final_state),
        address(d_state),
    )
    load_library().call("wkv7_backward", arguments)


wkv7_native = define_operators("wkv7", _forward, _backward, chunk=CHUNK)
"""Takes the arguments of `wkv7`; returns outputs (dtype of the sequences) and the final state."""


def _under_autocast(
    r: Tensor, decay_logit: Tensor, k: Tensor, v: Tensor, alpha: Tensor, beta: Tensor,
    state: Tensor, resets: Tensor | None, keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Convert sequences to the widest of their dtypes and the state to the compute dtype."""
    sequences = (r, decay_logit, k, v, alpha, beta)
    widest = reduce(torch.promote_types, (x.dtype for x in sequences))
    compute_dtype = torch.float64 if widest == torch.float64 else torch.float32
    with torch.autocast("cpu", enabled=False):
        results: tuple[Tensor, Tensor, Tensor, Tensor] = torch.ops.rwkv_music.wkv7(
            *(x.to(widest) for x in sequences), state.to(compute_dtype), resets, keep
        )
    return results


# `register_autocast` would convert the state as well.
_LIBRARY = torch.library.Library("rwkv_music", "FRAGMENT")
_LIBRARY.impl("wkv7", _under_autocast, "AutocastCPU")
