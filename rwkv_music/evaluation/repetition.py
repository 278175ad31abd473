"""A model that expects what it has just heard: the floor for music that repeats itself.

Much music goes on as the bars before did. `RepetitionModel` counts which tokens have followed which
in the window so far and copies them: the longer the run that stood there before, the surer. What it
has not heard yet it leaves to an n-gram model of the training pieces. With c(h) the number of times
that a context h has been followed by a token in this window, and t(h) the different tokens that
followed it (Witten and Bell 1991, as in `ngram`),

    p(x | h) = (c(h x) + t(h) p(x | h')) / (c(h) + t(h)),

from the longest context down to the n-gram model's p(x).
"""

from collections import Counter, defaultdict

import numpy as np
from jaxtyping import Float, Integer

from rwkv_music.evaluation.ngram import NGramModel


class RepetitionModel:
    """Copies the bars before, and leaves the rest to an n-gram model.

    Args:
        base: Of the training pieces.
        order: Longest run looked for: `order - 1` tokens and the one that followed them.
    """

    def __init__(self, base: NGramModel, *, order: int = 12) -> None:
        self.base = base
        self.order = order

    def nats(self, ids: Integer[np.ndarray, " tokens"]) -> Float[np.ndarray, " tokens"]:
        """-ln p of every token of one stream, given the tokens before it in that stream."""
        followers: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        probability = np.exp(-self.base.nats(ids))
        tokens = ids.tolist()
        for place, token in enumerate(tokens):
            for length in range(1, min(place, self.order - 1) + 1):
                heard = followers[tuple(tokens[place - length : place])]
                if heard:
                    copied = heard[token] + len(heard) * probability[place]
                    probability[place] = copied / (heard.total() + len(heard))
                heard[token] += 1
        nats: np.ndarray = -np.log(probability)
        return nats
