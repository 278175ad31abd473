"""A candidate while it is generated, and what restricts its next tokens."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from rwkv_music.generation.sampling.sampler import RandomStream
from rwkv_music.tokenizer import Grammar


@runtime_checkable
class TokenRule(Protocol):
    """A restriction of one candidate's next tokens, on top of the grammar."""

    def restrict(self, grammar: Grammar, mask: Bool[np.ndarray, " vocab"]) -> None:
        """Clear the entries of tokens that may not come next; at least one must stay."""

    def observe(self, grammar: Grammar, token: int) -> None:
        """Take note of a token that was chosen; the grammar is still in the state before it."""


@dataclass
class Candidate:
    """One continuation while it is generated."""

    grammar: Grammar
    stream: RandomStream
    seed: int
    rules: Sequence[TokenRule] = ()
    tokens: list[int] = field(default_factory=list)
    token_nats: list[float] = field(default_factory=list)
    """-ln p of each token, without masks and temperature."""
    removed: list[float] = field(default_factory=list)
    """For each token, the probability of what the grammar allowed and the rules did not."""
    tokens_in_bar: int = 0
    is_complete: bool = False
    given_behind_bars: Sequence[Sequence[int]] = ()
    """Tokens that follow the first, second .. BAR of the candidate and are not sampled: what is
    given in a bar of a hole."""
    given: deque[int] = field(default_factory=deque)
    """Tokens that come next and are not sampled."""
    newest_is_given: bool = False
    """Whether the newest token was not sampled."""

    @property
    def nats(self) -> float:
        """Sum of -ln p over the tokens."""
        return sum(self.token_nats)

    def take(self, token: int, *, nats: float, removed: float) -> None:
        """Append a token."""
        self.grammar.take(token)
        self.tokens.append(token)
        self.token_nats.append(nats)
        self.removed.append(removed)
        is_bar = token == self.grammar.vocabulary.BAR
        self.tokens_in_bar = 0 if is_bar else self.tokens_in_bar + 1
        if is_bar and self.given_behind_bars:
            run, *self.given_behind_bars = self.given_behind_bars
            self.given.extend(run)
