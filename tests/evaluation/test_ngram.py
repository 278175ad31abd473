"""The n-gram baseline against numbers computed by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.errors import InputError
from rwkv_music.evaluation import NGramModel


def ids(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint16)


def test_a_unigram_interpolates_counts_with_the_uniform_distribution() -> None:
    model = NGramModel([ids(0, 0, 1)], vocab_size=4, order=1)
    # c = 3 tokens, t = 2 kinds: p(0) = (2 + 2/4) / 5, p(1) = (1 + 2/4) / 5, unseen = (2/4) / 5.
    expected = [-math.log(2.5 / 5), -math.log(1.5 / 5), -math.log(0.5 / 5)]
    np.testing.assert_allclose(model.nats(ids(0, 1, 3)), expected)


def test_a_bigram_hands_an_unseen_context_down_to_the_unigram() -> None:
    model = NGramModel([ids(0, 0, 1)], vocab_size=4, order=2)
    p0, p1 = 2.5 / 5, 1.5 / 5
    # The beginning was followed once, by 0. After 0 came 0 and 1 (c = 2, t = 2); after 1, nothing.
    expected = [-math.log((1 + p0) / 2), -math.log((1 + 2 * p1) / 4), -math.log(p0)]
    np.testing.assert_allclose(model.nats(ids(0, 1, 0)), expected)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 5))
def test_probabilities_of_all_next_tokens_add_up_to_one(stream: list[int], order: int) -> None:
    model = NGramModel([np.array(stream)], vocab_size=6, order=order)
    context = stream[-3:]
    last = [model.nats(np.array([*context, token]))[-1] for token in range(6)]
    assert np.exp(-np.array(last)).sum() == pytest.approx(1)


def test_streams_do_not_run_into_each_other() -> None:
    apart = NGramModel([ids(0, 1), ids(2, 3)], vocab_size=4, order=2)
    joined = NGramModel([ids(0, 1, 2, 3)], vocab_size=4, order=2)
    assert apart.nats(ids(1, 2))[1] > joined.nats(ids(1, 2))[1]


def test_an_order_that_does_not_fit_a_key_is_refused() -> None:
    with pytest.raises(InputError, match=r"order must be in \[1, 5\] for 2048 ids, got 6"):
        NGramModel([ids(1)], vocab_size=2048, order=6)
