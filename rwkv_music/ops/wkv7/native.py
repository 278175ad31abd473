"""The WKV recurrence in the native library, as one torch operator with its backward.

The kernel walks over time with the state in the processor's cache, each head on its own. For the
backward it keeps the state before every 32nd step and S alpha of every step, and computes the
states between again: dividing by the decay to step backwards would amplify rounding errors.

It computes in float32 (float64 for float64 inputs); sequences may be float32 or bfloat16. Torch
sees opaque operators with shapes and gradients, so that `torch.compile` keeps its graph whole.
"""

import ctypes
from functools import reduce
from typing import ClassVar

import torch
from torch import Tensor

from rwkv_music.native import load_library
from rwkv_music.ops.native_arguments import (
    Sequence,
    Sizes,
    address,
    channels_together,
    sequence,
    sizes_of,
)
from rwkv_music.ops.wkv7.operators import Kept, Results, define_operators

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


def _forward(
    sequences: list[Tensor], state: Tensor, resets: Tensor | None, results: Results
) -> None:
    sequences = [channels_together(each) for each in sequences]
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
        *(address(each) if each.numel() else None for each in kept),
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
    sequences = [channels_together(each) for each in sequences]
    dy = channels_together(dy)
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
"""Outputs in the dtype of the sequences, and the final state. Takes what `wkv7` takes."""


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
