"""What the state remembers: perplexity over the first 1,024, 4,096 and 16,384 tokens of a piece.

A long piece is read in stretches with the state handed on. If what was heard long ago helps, the
perplexity over more tokens is lower than over the first ones, and lower than that of a model that
begins anew at each stretch.
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
    """How many tokens of each piece."""
    pieces: int
    """Pieces that are that long."""
    carried: float
    """Perplexity with the state handed on from stretch to stretch."""
    begun_anew: float
    """The same where each stretch begins from nothing."""


def long_context(
    model: MusicModel,
    pieces: Iterable[Ids],
    *,
    lengths: Sequence[int] = LENGTHS,
    stretch: int = 1024,
) -> list[LongContext]:
    """Perplexity over the first tokens of those pieces that have as many.

    Args:
        model: On any device. It is put in evaluation mode for the time.
        pieces: Token ids, the longer the better.
        lengths: Numbers of tokens, ascending; one that no piece reaches is left out.
        stretch: Tokens read at once; also what a model without memory sees at most.

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
    carried = [read_in_stretches(model, ids[: lengths[-1] + 1], stretch) for ids in usable]
    anew = [
        read_in_stretches(model, ids[: lengths[-1] + 1], stretch, carry=False) for ids in usable
    ]
    found = []
    for length in lengths:
        both = [[nats[:length] for nats in kind if len(nats) >= length] for kind in (carried, anew)]
        if both[0]:
            with_state, without = (math.exp(np.concatenate(kind).mean()) for kind in both)
            found.append(LongContext(length, len(both[0]), with_state, without))
    return found


@torch.no_grad()
def read_in_stretches(model: MusicModel, ids: Ids, stretch: int, *, carry: bool = True) -> Nats:
    """-ln p of every token but the first.

    Args:
        model: See `long_context`.
        ids: A piece.
        stretch: Tokens read at once.
        carry: Whether a stretch goes on from the state in which the one before ended.
    """
    if stretch < 1:
        raise InputError(f"stretch must be at least 1 token, got {stretch}")
    network = model.network
    was_training = network.training
    network.eval()
    device = model.device
    tokens = torch.from_numpy(ids.astype("int64")).to(device)[None]
    state: ModelState | None = None
    found = []
    for first in range(0, tokens.shape[1] - 1, stretch):
        read = tokens[:, first : first + stretch + 1]
        hidden, after = network.hidden(read[:, :-1], state)
        state = after if carry else None
        mask = torch.ones_like(read[:, 1:], dtype=torch.bool)
        found.append(completion_nats(hidden, network.head.weight, read[:, 1:], mask))
    network.train(was_training)
    nats: Nats = torch.cat(found).double().cpu().numpy()
    return nats
