"""Inputs of the recurrence for benchmarks and tests: random ones, and those of a trained model."""

import functools
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from rwkv_music import load_model, load_score
from rwkv_music.gpu_benchmark.recurrence_inputs import FAMILIES, random_inputs
from rwkv_music.ops import use_backend
from rwkv_music.ops.wkv7 import wkv7

TRAINED = "trained"
ALL_FAMILIES = (*FAMILIES, TRAINED)
"""The random families, and what the shipped model computes from music."""

_PROMPT = Path(__file__).resolve().parents[1] / "examples" / "prompt.mid"
_STEPS = 1024


def recurrence_inputs(
    B: int, T: int, H: int, *, head_size: int = 64, family: str = "random", seed: int = 0
) -> list[Tensor]:
    """Return six sequences and a state in float64: `random_inputs`, or those of the trained model.

    Args:
        B: Number of sequences (1 for "trained").
        T: Number of steps (at most 1,024 for "trained").
        H: Number of heads.
        head_size: Channels of a head.
        family: One of `ALL_FAMILIES`.
        seed: Seed of the random numbers.
    """
    if family == TRAINED:
        *sequences, state = trained_activations()
        return [*(x[:B, :T, :H] for x in sequences), state[:B, :H]]
    return random_inputs(B, T, H, head_size=head_size, family=family, seed=seed)


@functools.cache
def trained_activations() -> list[Tensor]:
    """Return the inputs in the shipped model's middle layer: one sequence of 1,024 steps."""
    model = load_model("bach")
    network = model.network.double()
    ids = torch.from_numpy(model.tokenizer.encode(load_score(_PROMPT)).astype("int64"))
    calls: list[list[Tensor]] = []

    def record(*tensors: Tensor, **options: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - wkv7's
        calls.append([*tensors[:6], tensors[6]])
        return wkv7(*tensors, **options)

    recording = mock.patch("rwkv_music.model.rwkv7.wkv7", record)
    with use_backend("chunked"), recording, torch.no_grad():
        _, state = network(ids[None])
        network(ids.repeat(1 + _STEPS // len(ids))[None, :_STEPS], state)
    return calls[-2]
