"""A model that predicts repetition: a baseline for music that repeats itself.

`RepetitionModel` counts which tokens have followed which contexts in the window so far, and backs
off to an n-gram model of the training pieces. With c(h) the number of times that a context h has
been followed by a token in this window, and t(h) the number of different tokens that followed it
(Witten and Bell 1991, as in `ngram`),

    p(x | h) = (c(h x) + t(h) p(x | h')) / (c(h) + t(h)),

from the longest context down to the n-gram model's p(x).
"""

from collections import Counter, defaultdict

import numpy as np
from jaxtyping import Float, Integer

from rwkv_music.evaluation.ngram import NGramModel


class RepetitionModel:
    """Predicts repetition within a window and backs off to an n-gram model.

    Args:
        base: N-gram model of the training pieces.
        order: Length of the longest n-gram: `order - 1` tokens of context.
    """

    def __init__(self, base: NGramModel, *, order: int = 12) -> None:
        self.base = base
        self.order = order

    def nats(self, ids: Integer[np.ndarray, " tokens"]) -> Float[np.ndarray, " tokens"]:
        """Return -ln p of each token of one stream, given the previous tokens."""
        followers: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        probability = np.exp(-self.base.nats(ids))
        tokens = ids.tolist()
        for position, token in enumerate(tokens):
            for length in range(1, min(position, self.order - 1) + 1):
                counts = followers[tuple(tokens[position - length : position])]
                if counts:
                    weighted = counts[token] + len(counts) * probability[position]
                    probability[position] = weighted / (counts.total() + len(counts))
                counts[token] += 1
        nats: np.ndarray = -np.log(probability)
        return nats
