"""Where notes of a hole end at the latest if its time signature changes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from rwkv_music.tokenizer import Grammar, TokenType


class EdgeRule:
    """Ends notes where every reader of the hole expects its end.

    A reader expects in each bar that the time signature stays. In a hole with several changes the
    end expected in a later bar may lie before the one expected now and before the real one.

    Args:
        edges: For each bar of the hole the grid step at which its notes end at the latest.
        first_bar: `Grammar.bars` inside the first bar of the hole.
    """

    def __init__(self, edges: Sequence[int], *, first_bar: int) -> None:
        self._edges = edges
        self._first_bar = first_bar

    def restrict(self, grammar: Grammar, mask: Bool[np.ndarray, " vocab"]) -> None:
        """Clear the durations that are too long."""
        if grammar.last_type is TokenType.VEL:
            vocabulary = grammar.vocabulary
            longest = self._edges[grammar.bars - self._first_bar] - grammar.time
            fitting = int(vocabulary.durations.searchsorted(longest, side="right"))
            mask[vocabulary.duration.start + fitting : vocabulary.duration.stop] = False

    def observe(self, grammar: Grammar, token: int) -> None:
        """Do nothing: the rule has no state."""
