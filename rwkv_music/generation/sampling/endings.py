"""When a candidate is complete."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from rwkv_music.generation.sampling.candidate import Candidate

MAX_TOKENS_PER_BAR = 1024
"""A longer bar is ended as soon as the grammar allows it, so that generation terminates."""


@runtime_checkable
class Ending(Protocol):
    """Decides when a candidate is complete."""

    def restrict(self, candidate: Candidate, mask: Bool[np.ndarray, " vocab"]) -> None:
        """Clear the entries of tokens that would end the candidate too early or too late."""

    def is_complete(self, candidate: Candidate, token: int) -> bool:
        """Whether a chosen token, which is not part of the candidate, ends it."""


@dataclass(frozen=True)
class BarsBehind:
    """Ends a candidate before the BAR after its last bar, or before EOS.

    Args:
        last_bar: Number of bars, with those of the prompt.
    """

    last_bar: int

    def restrict(self, candidate: Candidate, mask: Bool[np.ndarray, " vocab"]) -> None:
        """Allow EOS only in the last bar, and only BAR in a bar that is too long."""
        vocabulary = candidate.grammar.vocabulary
        if mask[vocabulary.EOS]:
            mask[vocabulary.EOS] = candidate.grammar.bars == self.last_bar
        if candidate.tokens_in_bar > MAX_TOKENS_PER_BAR and mask[vocabulary.BAR]:
            mask[:] = False
            mask[vocabulary.BAR] = True

    def is_complete(self, candidate: Candidate, token: int) -> bool:
        """Whether the token is EOS, or the BAR behind the last bar."""
        vocabulary = candidate.grammar.vocabulary
        return token == vocabulary.EOS or (
            token == vocabulary.BAR and candidate.grammar.bars == self.last_bar
        )


@dataclass(frozen=True)
class EndOfHole:
    """Ends a candidate before EOS, which the grammar allows in the last bar of a hole."""

    def restrict(self, candidate: Candidate, mask: Bool[np.ndarray, " vocab"]) -> None:
        """End a bar that is too long."""
        vocabulary = candidate.grammar.vocabulary
        ends = [vocabulary.BAR, vocabulary.EOS]
        if candidate.tokens_in_bar > MAX_TOKENS_PER_BAR and mask[ends].any():
            can_end = mask[ends]
            mask[:] = False
            mask[ends] = can_end

    def is_complete(self, candidate: Candidate, token: int) -> bool:
        """Whether the token is EOS."""
        return token == candidate.grammar.vocabulary.EOS
