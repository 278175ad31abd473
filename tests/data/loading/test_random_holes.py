"""Windows become holes at random, and only what is to be written is scored."""

import numpy as np
import pytest

from rwkv_music.data.loading.collate import collate
from rwkv_music.data.loading.completion_windows import Example
from rwkv_music.data.loading.random_holes import RandomHoles
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import BarIndex, Tokenizer
from rwkv_music.tokenizer.holes import split_hole
from tests.tokens import random_score

TOKENIZER = Tokenizer()


def window(seed: int) -> Example:
    score = random_score(np.random.default_rng(seed), parts=4)
    actual = BarIndex(TOKENIZER.encode(score), TOKENIZER).window(0, 1, completion_bar=0)
    ids = TOKENIZER.encode(score)
    return Example(ids=ids, completion_start=actual.completion_start)


def test_the_asked_fraction_of_the_windows_become_holes() -> None:
    holes = RandomHoles(tokenizer=TOKENIZER, fraction=0.5)
    rng = np.random.default_rng(0)
    made = [holes(window(seed), rng).scored is not None for seed in range(100)]
    assert 35 < sum(made) < 65


def test_every_hole_can_be_read_back_and_some_state_controls_or_begin_with_the_suffix() -> None:
    rng = np.random.default_rng(1)
    holes = RandomHoles(tokenizer=TOKENIZER, fraction=1.0)
    read = [
        split_hole(example.ids, TOKENIZER.vocabulary)
        for example in (holes(window(seed), rng) for seed in range(80))
        if example.scored is not None
    ]
    assert len(read) > 70
    with_controls = sum(bool(hole.controls) for hole in read)
    assert 20 < with_controls < 60
    assert 0 < sum(hole.suffix_first for hole in read) < 30
    assert any(hole.cells.all() for hole in read)
    assert any(len(hole.written) == 1 < hole.cells.shape[1] for hole in read)


def test_the_completion_mask_of_a_hole_is_what_is_scored() -> None:
    holes = RandomHoles(tokenizer=TOKENIZER, fraction=1.0)
    rng = np.random.default_rng(2)
    examples = [holes(window(seed), rng) for seed in range(6)]
    batch = collate(examples)
    for row, example in enumerate(examples):
        length = len(example.ids) - 1
        expected = example.is_scored()[1:]
        np.testing.assert_array_equal(batch.completion_mask[row, :length].numpy(), expected)
        assert not batch.completion_mask[row, length:].any()


def test_a_fraction_beyond_1_is_refused() -> None:
    with pytest.raises(InputError, match=r"fraction must be in \[0, 1\], got 1.5"):
        RandomHoles(tokenizer=TOKENIZER, fraction=1.5)
