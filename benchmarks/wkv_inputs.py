"""Inputs of the WKV recurrence, in families that ask different things of a kernel."""

import functools
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from benchmarks.measuring import backend_forced
from rwkv_music import Tokenizer, load_model, load_score
from rwkv_music.ops.wkv7 import wkv7

N = 64
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
    normal = partial(
        torch.randn, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    key = normal(B, T, H, N)
    if family == "parallel":
        key = normal(1, 1, H, N) + 1e-3 * key
    removal = F.normalize(key, dim=-1)
    rate = torch.sigmoid(normal(B, T, H, N))
    logit = 2 * normal(B, T, H, N)
    if family in ("fast", "slow"):
        logit = torch.full_like(logit, 3.0 if family == "fast" else -9.0)
    sequences = (normal(B, T, H, N), logit, normal(B, T, H, N), normal(B, T, H, N))
    return [*sequences, -removal, removal * rate, normal(B, H, N, N)]


@functools.cache
def trained_activations() -> list[Tensor]:
    """What the shipped model's middle layer hands to the recurrence: 1,024 steps, one sequence."""
    model = load_model("bach").double()
    tokenizer = Tokenizer.from_settings(model.tokenizer_settings)
    ids = torch.from_numpy(tokenizer.encode(load_score(_PROMPT)).astype("int64"))
    given: list[list[Tensor]] = []

    def listen(*tensors: Tensor, **options: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - wkv7's
        given.append([*tensors[:6], tensors[6]])
        return wkv7(*tensors, **options)

    listening = mock.patch("rwkv_music.ops.time_mixing.composed.wkv7", listen)
    with backend_forced("chunked"), listening, torch.no_grad():
        _, state = model(ids[None])
        model(ids.repeat(1 + _STEPS // len(ids))[None, :_STEPS], state)
    return given[-2]
