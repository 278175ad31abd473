"""Inputs of the WKV recurrence, in families that ask different things of a kernel."""

import functools
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.measuring import backend_forced
from rwkv_music import load_model, load_score
from rwkv_music.evaluation.gpu import inputs
from rwkv_music.ops.wkv7 import wkv7

FAMILIES = ("random", "fast", "slow", "parallel", "trained")

_PROMPT = Path(__file__).resolve().parents[1] / "examples" / "prompt.mid"
_STEPS = 1024


def draw(shape: str, seed: int, family: str = "random") -> list[Tensor]:
    """Six sequences and a state in float64, as a model would make them.

    Args:
        shape: "BxTxH".
        seed: Of the random numbers.
        family: Decays at "random", all "fast" or "slow", one key over and over ("parallel"), or
            what the shipped model computes from music ("trained").
    """
    B, T, H = map(int, shape.split("x"))
    if family == "trained":
        *sequences, state = trained_activations()
        return [*(each[:B, :T, :H] for each in sequences), state[:B, :H]]
    return inputs.draw(B, T, H, family=family, seed=seed)


@functools.cache
def trained_activations() -> list[Tensor]:
    """What the shipped model's middle layer hands to the recurrence: 1,024 steps, one sequence."""
    model = load_model("bach")
    network = model.network.double()
    ids = torch.from_numpy(model.tokenizer.encode(load_score(_PROMPT)).astype("int64"))
    given: list[list[Tensor]] = []

    def listen(*tensors: Tensor, **options: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - wkv7's
        given.append([*tensors[:6], tensors[6]])
        return wkv7(*tensors, **options)

    listening = mock.patch("rwkv_music.ops.time_mixing.composed.wkv7", listen)
    with backend_forced("chunked"), listening, torch.no_grad():
        _, state = network(ids[None])
        network(ids.repeat(1 + _STEPS // len(ids))[None, :_STEPS], state)
    return given[-2]
