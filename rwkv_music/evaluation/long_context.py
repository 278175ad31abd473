"""Use of long context: perplexity over the first 1,024, 4,096 and 16,384 tokens of a piece.

A long piece is processed in segments, with the state passed from one to the next. If distant
context helps, perplexity over more tokens is lower than over the first ones, and lower than for a
model whose state is reset at each segment.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from rwkv_music.data.pieces import Ids
from rwkv_music.errors import InputError
from rwkv_music.model import ModelState, MusicModel
from rwkv_music.ops.cross_entropy import completion_nats

LENGTHS = (1024, 4096, 16_384)

Nats = Float[np.ndarray, " tokens"]


@dataclass(frozen=True)
class LongContext:
    """Perplexity over the first tokens of some pieces."""

    length: int
    """Number of tokens of each piece."""
    pieces: int
    """Number of pieces with that many tokens."""
    carried: float
    """Perplexity with the state carried from segment to segment."""
    reset: float
    """Perplexity with the state reset at each segment."""


def long_context(
    model: MusicModel,
    pieces: Iterable[Ids],
    *,
    lengths: Sequence[int] = LENGTHS,
    segment: int = 1024,
) -> list[LongContext]:
    """Return the perplexity over the first tokens of all pieces that are long enough.

    Args:
        model: A model on any device, in evaluation mode meanwhile.
        pieces: Token ids of long pieces.
        lengths: Numbers of tokens, ascending; lengths that no piece has are skipped.
        segment: Tokens processed at a time, and the context of the model without a carried state.

    Raises:
        InputError: If no piece is longer than the smallest number of tokens.

    Example:
        for row in long_context(model, [piece.ids for piece in valid]): print(row)
    """
    usable = [ids for ids in pieces if len(ids) > lengths[0]]
    if not usable:
        raise InputError(
            f"no piece is longer than {lengths[0]} tokens: give longer pieces, or smaller lengths"
        )
    carried = [segment_nats(model, ids[: lengths[-1] + 1], segment) for ids in usable]
    reset = [segment_nats(model, ids[: lengths[-1] + 1], segment, carry=False) for ids in usable]
    rows = []
    for length in lengths:
        both = [
            [nats[:length] for nats in rows if len(nats) >= length] for rows in (carried, reset)
        ]
        if both[0]:
            with_state, without = (math.exp(np.concatenate(rows).mean()) for rows in both)
            rows.append(LongContext(length, len(both[0]), with_state, without))
    return rows


@torch.no_grad()
def segment_nats(model: MusicModel, ids: Ids, segment: int, *, carry: bool = True) -> Nats:
    """Return -ln p of every token except the first.

    Args:
        model: See `long_context`.
        ids: Token ids of a piece.
        segment: Tokens processed at a time.
        carry: Whether a segment starts from the final state of the previous one.
    """
    if segment < 1:
        raise InputError(f"segment must be at least 1 token, got {segment}")
    network = model.network
    was_training = network.training
    network.eval()
    device = model.device
    tokens = torch.from_numpy(ids.astype("int64")).to(device)[None]
    state: ModelState | None = None
    nats_of_segments = []
    for first in range(0, tokens.shape[1] - 1, segment):
        read = tokens[:, first : first + segment + 1]
        hidden, final_state = network.hidden(read[:, :-1], state)
        state = final_state if carry else None
        mask = torch.ones_like(read[:, 1:], dtype=torch.bool)
        nats_of_segments.append(completion_nats(hidden, network.head.weight, read[:, 1:], mask))
    network.train(was_training)
    nats: Nats = torch.cat(nats_of_segments).double().cpu().numpy()
    return nats
