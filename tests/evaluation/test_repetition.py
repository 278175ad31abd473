"""The baseline that copies the previous bars, against numbers computed by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.evaluation import NGramModel, RepetitionModel


def uniform(vocab_size: int) -> NGramModel:
    """Knows four tokens, each of which it has seen once."""
    return NGramModel([np.arange(vocab_size)], vocab_size=vocab_size, order=1)


def test_what_was_heard_once_is_expected_again() -> None:
    model = RepetitionModel(uniform(4), order=2)
    # Nothing has followed 0 or 1 yet. Then c = t = 1 after 0: p(1) = (1 + 1/4) / 2.
    expected = [math.log(4), math.log(4), math.log(4), -math.log(1.25 / 2)]
    np.testing.assert_allclose(model.nats(np.array([0, 1, 0, 1])), expected)


def test_a_longer_run_is_surer_and_interpolated_with_the_shorter_one() -> None:
    model = RepetitionModel(uniform(4), order=3)
    # At the last token: after 1 came 2 once, so p = (1 + 1/4) / 2; after 0 1 too: (1 + p) / 2.
    last = model.nats(np.array([0, 1, 2, 0, 1, 2]))[-1]
    assert last == pytest.approx(-math.log((1 + 1.25 / 2) / 2))


def test_what_was_not_heard_is_left_to_the_base() -> None:
    base = NGramModel([np.array([3, 3, 2, 1, 0])], vocab_size=4, order=2)
    fresh = np.array([3, 2, 1, 0])
    np.testing.assert_allclose(RepetitionModel(base).nats(fresh), base.nats(fresh))


@settings(max_examples=20)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 6))
def test_probabilities_of_all_next_tokens_add_up_to_one(stream: list[int], order: int) -> None:
    model = RepetitionModel(uniform(4), order=order)
    last = [model.nats(np.array([*stream, token]))[-1] for token in range(4)]
    assert np.exp(-np.array(last)).sum() == pytest.approx(1)
