"""What followed the last time: the token after the longest earlier match of each suffix.

Source: Peng, "ROSA: Rapid Online Suffix Automaton", RWKV-LM, folder RWKV-v8 (2025), where a suffix
automaton finds the same. Here the lengths of all matches are carried along as one vector: a token
costs a few passes over what came before, which for a piece of music is cheaper.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from torch import Tensor, from_numpy

NONE = -1
"""In place of a token where the current one has not been there before."""


@dataclass(frozen=True)
class Past:
    """The tokens of some sequences, and how long a match ends at each."""

    tokens: Int[np.ndarray, "B P"]
    matched: Int[np.ndarray, "B P"]
    """How many tokens before and at each place equal the last ones; 0 at the last place itself."""

    def select(self, rows: Int[np.ndarray, " rows"]) -> "Past":
        """The past of some sequences of the batch, in the order asked for."""
        return Past(self.tokens[rows], self.matched[rows])


def followers(
    ids: Int[Tensor, "B T"], past: Past | None = None, resets: Bool[Tensor, "B T"] | None = None
) -> tuple[Int[Tensor, "B T"], Past]:
    """The token that followed the latest of the longest earlier matches of each suffix.

    Args:
        ids: Tokens, none negative.
        past: What came before; nothing when None.
        resets: True where a piece begins: nothing before it is matched.

    Returns:
        A token or `NONE` for each of `ids`, on their device, and what to go on from.

    Example:
        >>> import torch
        >>> followers(torch.tensor([[7, 8, 9, 7, 8]]))[0].tolist()
        [[-1, -1, -1, 8, 9]]
    """
    batch, steps = ids.shape
    known = 0 if past is None else past.tokens.shape[1]
    tokens = np.empty((batch, known + steps), np.int32)
    matched, before = np.zeros((2, batch, known + steps + 1), np.int32)
    tokens[:, known:] = ids.numpy(force=True)
    if past is not None:
        tokens[:, :known] = past.tokens
        matched[:, 1 : known + 1] = past.matched  # column 0 stands before the first token
    begins = None if resets is None else resets.numpy(force=True)
    found = np.full((batch, steps), NONE, np.int64)
    rows = np.arange(batch)
    for step in range(steps):
        place = known + step
        matched, before = before, matched
        if begins is not None and begins[:, step].any():
            tokens[begins[:, step], :place] = NONE
        equal = tokens[:, :place] == tokens[:, place : place + 1]
        np.multiply(before[:, :place] + 1, equal, out=matched[:, 1 : place + 1])
        matched[:, place + 1] = 0
        if place:
            latest = place - 1 - matched[:, place:0:-1].argmax(1)
            there = matched[rows, latest + 1] > 0
            found[:, step] = np.where(there, tokens[rows, latest + 1], NONE)
    after = Past(tokens, matched[:, 1:].copy())
    return from_numpy(found).to(ids.device), after
