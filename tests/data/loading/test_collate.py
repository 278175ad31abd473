"""The completion mask selects exactly the tokens of the completion."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.data import Example, collate
from rwkv_music.errors import InputError
from rwkv_music.ops.cross_entropy import completion_loss


def example(ids: list[int], completion_start: int) -> Example:
    return Example(ids=np.array(ids, dtype=np.uint16), completion_start=completion_start)


def test_exactly_the_completion_is_scored_row_by_row() -> None:
    batch = collate([example([1, 5, 6, 3, 7, 2], 3), example([1, 5, 3, 9], 2)])
    assert batch.tokens.tolist() == [[1, 5, 6, 3, 7], [1, 5, 3, 0, 0]]
    assert batch.targets.tolist() == [[5, 6, 3, 7, 2], [5, 3, 9, 0, 0]]
    assert batch.completion_mask.tolist() == [
        [False, False, True, True, True],
        [False, True, True, False, False],
    ]
    assert batch.num_scored == 5
    assert batch.scored_fraction == 0.5


def test_the_scored_targets_are_the_completion() -> None:
    first, second = example([1, 4, 4, 3, 8, 9, 2], 3), example([1, 4, 3, 8], 2)
    batch = collate([first, second])
    scored = batch.targets[batch.completion_mask].tolist()
    assert scored == [3, 8, 9, 2, 3, 8]


def test_the_loss_of_a_small_batch_equals_the_value_by_hand() -> None:
    # Two scored targets out of vocabulary 2: even odds cost ln 2, one-to-three odds cost ln 4.
    batch = collate([example([0, 1, 1, 0], 2)])
    hidden = torch.tensor([[[9.0], [0.0], [1.0]]])
    head = torch.tensor([[0.0], [math.log(3)]])
    loss = completion_loss(hidden, head, batch.targets, batch.completion_mask)
    assert loss.item() == pytest.approx((math.log(2) + math.log(4)) / 2)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**16), length=st.integers(2, 9), start=st.integers(1, 8))
def test_padding_and_prompt_targets_do_not_change_the_loss(
    seed: int, length: int, start: int
) -> None:
    start = min(start, length - 1)
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 11, length)
    torch.manual_seed(seed)
    alone = collate([example(ids.tolist(), start)])
    longer = example(rng.integers(1, 11, 14).tolist(), 5)
    padded = collate([example(ids.tolist(), start), longer])
    hidden = torch.randn(2, 13, 4, dtype=torch.float64, requires_grad=True)
    head = torch.randn(11, 4, dtype=torch.float64)

    row = completion_loss(hidden[:1], head, padded.targets[:1], padded.completion_mask[:1])
    by_itself = completion_loss(
        hidden[:1, : length - 1], head, alone.targets, alone.completion_mask
    )
    torch.testing.assert_close(row, by_itself)

    changed = padded.targets.clone()
    changed[~padded.completion_mask] = 7
    whole = completion_loss(hidden, head, padded.targets, padded.completion_mask)
    torch.testing.assert_close(
        whole, completion_loss(hidden, head, changed, padded.completion_mask)
    )
    whole.backward()
    assert hidden.grad is not None
    assert (hidden.grad[~padded.completion_mask] == 0).all()
    assert (hidden.grad[padded.completion_mask].abs().sum(-1) > 0).all()


@pytest.mark.parametrize("start", [0, 3, 4])
def test_an_example_without_prompt_or_completion_is_refused(start: int) -> None:
    with pytest.raises(InputError, match=rf"completion_start must be in \[1, 3\), got {start}"):
        collate([example([1, 3, 4], start)])


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(InputError, match="at least one example, got 0"):
        collate([])
