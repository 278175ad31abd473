"""Perplexity of long pieces: a carried state equals one long forward."""

import math

import numpy as np
import pytest
import torch

from rwkv_music.errors import InputError
from rwkv_music.evaluation.long_context import long_context, segment_nats
from rwkv_music.model import ModelConfig, MusicModel
from tests.model.test_rwkv7 import perturbed

MODEL = perturbed(ModelConfig(vocab_size=23, num_layers=2, dim=64))


def music(length: int, *, seed: int = 0) -> "np.ndarray[tuple[int], np.dtype[np.uint16]]":
    return np.random.default_rng(seed).integers(1, 23, length).astype(np.uint16)


def truth(ids: "np.ndarray[tuple[int], np.dtype[np.uint16]]") -> torch.Tensor:
    tokens = torch.from_numpy(ids.astype("int64"))
    logits, _ = MODEL(tokens[None, :-1])
    chosen = logits[0].log_softmax(-1).gather(1, tokens[1:, None])
    return -chosen.squeeze(1).detach()


@pytest.mark.parametrize("segment", [1, 7, 59, 60, 100])
def test_segments_give_the_nats_of_one_forward(segment: int) -> None:
    ids = music(60)
    actual = torch.from_numpy(segment_nats(MusicModel(MODEL), ids, segment))
    torch.testing.assert_close(actual, truth(ids))


def test_without_a_carried_state_each_segment_is_a_piece_of_its_own() -> None:
    ids = music(21)
    actual = torch.from_numpy(segment_nats(MusicModel(MODEL), ids, 10, carry=False))
    torch.testing.assert_close(actual, torch.cat([truth(ids[:11]), truth(ids[10:])]))


def test_a_length_counts_the_pieces_that_reach_it() -> None:
    long, short = music(90), music(50, seed=1)
    rows = long_context(
        MusicModel(MODEL), [long, short, music(9)], lengths=(20, 60, 200), segment=16
    )
    assert [(row.length, row.pieces) for row in rows] == [(20, 2), (60, 1)]
    expected = torch.cat([truth(long)[:20], truth(short)[:20]]).mean()
    assert rows[0].carried == pytest.approx(math.exp(expected))
    assert rows[1].carried == pytest.approx(math.exp(truth(long)[:60].mean()))
    assert rows[1].reset != pytest.approx(rows[1].carried, rel=1e-4)


def test_pieces_that_are_all_too_short_and_a_segment_of_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="no piece is longer than 100 tokens"):
        long_context(MusicModel(MODEL), [music(50)], lengths=(100,))
    with pytest.raises(InputError, match="segment must be at least 1 token, got 0"):
        segment_nats(MusicModel(MODEL), music(5), 0)
