"""An interpolated n-gram model of token ids: a baseline for neural models.

Probabilities are interpolated from the longest context down to the uniform distribution with
Witten-Bell weights (Witten and Bell 1991): with h a context seen c(h) times and followed by t(h)
different tokens, and h' the context one token shorter,

    p(x | h) = (c(h x) + t(h) p(x | h')) / (c(h) + t(h)).

The more different tokens have followed a context, the more weight the shorter context gets; an
unseen context gives it all the weight. No weight is tuned, so nothing can leak from validation.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Integer

from rwkv_music.errors import InputError

Keys = Int[np.ndarray, " _"]


class _Counts(NamedTuple):
    """Counts of tokens after contexts of one length, as sorted keys."""

    pair_keys: np.ndarray
    pair_counts: np.ndarray
    context_keys: np.ndarray
    context_counts: np.ndarray
    distinct_followers: np.ndarray


class NGramModel:
    """Counts of all n-grams up to an order, within separate streams.

    Args:
        streams: Token ids of each training piece.
        vocab_size: Number of ids; the bottom distribution is uniform over them.
        order: Length of the longest n-gram: `order - 1` tokens of context. Keys have 64 bits, which
            allows 5 for 2,048 ids.

    Raises:
        InputError: If the order does not fit 64 bits.
    """

    def __init__(
        self, streams: Sequence[Integer[np.ndarray, " _"]], *, vocab_size: int, order: int = 5
    ) -> None:
        self.vocab_size = vocab_size
        self.order = order
        # One more symbol than ids: 0 means "before the beginning".
        self._bits = vocab_size.bit_length()
        if not 1 <= order <= 63 // self._bits:
            raise InputError(
                f"order must be in [1, {63 // self._bits}] for {vocab_size} ids, got {order}"
            )
        symbols = [_symbols(stream) for stream in streams]
        self._levels = [self._count(symbols, length) for length in range(order)]

    def _count(self, streams: Sequence[Keys], context_length: int) -> _Counts:
        contexts = np.concatenate([self._contexts(symbols, context_length) for symbols in streams])
        following = np.concatenate(streams)
        pair_keys, pair_counts = np.unique((contexts << self._bits) | following, return_counts=True)
        context_of_pair = pair_keys >> self._bits
        context_keys, first = np.unique(context_of_pair, return_index=True)
        return _Counts(
            pair_keys=pair_keys,
            pair_counts=pair_counts,
            context_keys=context_keys,
            context_counts=np.add.reduceat(pair_counts, first),
            distinct_followers=np.diff(np.append(first, len(pair_keys))),
        )

    def _contexts(self, symbols: Keys, length: int) -> Keys:
        """Return the `length` symbols before each position, packed; 0 before the beginning."""
        keys = np.zeros(len(symbols), dtype=np.int64)
        for distance in range(length, 0, -1):
            shifted = np.zeros_like(symbols)
            shifted[distance:] = symbols[:-distance]
            keys = (keys << self._bits) | shifted
        return keys

    def nats(self, ids: Integer[np.ndarray, " tokens"]) -> Float[np.ndarray, " tokens"]:
        """Return -ln p of each token of one stream, given the previous tokens."""
        symbols = _symbols(ids)
        probability = np.full(len(symbols), 1.0 / self.vocab_size)
        for length, counts in enumerate(self._levels):
            contexts = self._contexts(symbols, length)
            pairs = (contexts << self._bits) | symbols
            seen = _look_up(counts.pair_keys, counts.pair_counts, pairs)
            total = _look_up(counts.context_keys, counts.context_counts, contexts)
            distinct = _look_up(counts.context_keys, counts.distinct_followers, contexts)
            known = total > 0
            interpolated = seen[known] + distinct[known] * probability[known]
            probability[known] = interpolated / (total[known] + distinct[known])
        nats: np.ndarray = -np.log(probability)
        return nats


def _symbols(ids: Integer[np.ndarray, " tokens"]) -> Keys:
    return ids.astype(np.int64) + 1


def _look_up(keys: np.ndarray, values: np.ndarray, queries: Keys) -> np.ndarray:
    """Return the value of each key, or 0 if it is missing."""
    indices = np.minimum(np.searchsorted(keys, queries), len(keys) - 1)
    return np.where(keys[indices] == queries, values[indices], 0)
