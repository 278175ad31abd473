"""Whether a prompt is like the music that a shipped model knows."""

import json
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from rwkv_music.evaluation.surprise import token_nats
from rwkv_music.model import MusicModel

if TYPE_CHECKING:
    import symusic

PROMPT_BARS = 16
"""Bars at the beginning of a score that are compared, as they were of the held-out pieces."""
LEAST_TOKENS = 64
"""Shorter prompts say too little."""


def held_out_limit(name: str) -> float | None:
    """Return the nats per token that 99 of 100 held-out pieces of a shipped model stay below.

    None if the model is not a shipped one, or its limit was not measured.
    """
    path = resources.files("rwkv_music") / "models" / f"{name}.json"
    if "/" in name or not path.is_file():
        return None
    limit = json.loads(path.read_text(encoding="utf-8")).get("held_out_nats_per_token_99")
    return None if limit is None else float(limit)


def prompt_nats(model: MusicModel, score: "symusic.Score") -> float | None:
    """Return the nats per token of the first bars of a score; None if it is too short to tell.

    Raises:
        InputError: If the score cannot be written as tokens.
    """
    from rwkv_music.score import num_bars, take_bars

    ids = model.tokenizer.encode(take_bars(score, 0, min(PROMPT_BARS, num_bars(score))))
    header = int(np.argmax(ids == model.tokenizer.vocabulary.BAR))
    if len(ids) - 1 - header < LEAST_TOKENS:
        return None
    return float(token_nats(model, ids)[header:].mean())
