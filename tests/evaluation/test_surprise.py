"""Surprise: the nats of every note, and together exactly the training loss."""

import math

import numpy as np
import pytest
import torch

from rwkv_music.data import Example, collate
from rwkv_music.evaluation.surprise import surprise, token_nats
from rwkv_music.training.config import OptimizerConfig
from rwkv_music.training.loss import CompletionLoss
from tests.generation.test_continuation import MODEL, TOKENIZER
from tests.music import tune
from tests.tokens import random_score


def training_loss(ids: np.ndarray) -> float:
    """Mean loss over all tokens but the first."""
    batch = collate([Example(ids, 1)])
    loss = CompletionLoss(MODEL.network, OptimizerConfig(logit_penalty=0.0), precision="float32")
    with torch.no_grad():
        return float(loss(batch, None, float(len(ids) - 1)).objective.objective)


def test_the_nats_of_all_tokens_are_the_training_loss() -> None:
    score = tune(bars=60)
    ids = TOKENIZER.encode(score)
    assert len(ids) > 1025, "longer than one chunk"
    actual = surprise(MODEL, score)
    assert actual.nats_per_token == pytest.approx(training_loss(ids), rel=1e-6)
    assert actual.num_tokens == len(ids) - 1


def test_every_note_has_the_nats_of_its_own_tokens() -> None:
    score = random_score(np.random.default_rng(5), ticks=480)
    ids = TOKENIZER.encode(score)
    nats, types = token_nats(MODEL, ids), TOKENIZER.vocabulary.types_of(ids[1:])
    actual = surprise(MODEL, score)
    assert len(actual.notes) == score.note_num() > 3
    for index, kinds in (("pitch", (13, 14)), ("velocity", (15,)), ("duration", (16,))):
        own = nats[np.isin(types, kinds)].tolist()
        assert [note.by_kind[index] for note in actual.notes] == pytest.approx(own)
    assert all(
        math.isclose(note.nats, sum(note.by_kind.values()), rel_tol=1e-9) for note in actual.notes
    )
    assert sum(note.nats for note in actual.notes) < actual.nats


def test_notes_are_those_of_the_score_in_the_order_of_the_tokens() -> None:
    score = random_score(np.random.default_rng(9), ticks=480, free=True)
    notes = surprise(MODEL, score).notes
    expected = sorted(
        (track, note.time, note.duration, note.pitch, note.velocity)
        for track in range(len(score.tracks))
        for note in score.tracks[track].notes
    )
    assert sorted(tuple(note[:5]) for note in notes) == expected
    decoded = TOKENIZER.encode(score)
    span = TOKENIZER.vocabulary.pitch
    pitches = [int(token) - span.start for token in decoded if span.start <= token < span.stop]
    is_drum = [track.is_drum for track in score.tracks]
    assert [note.pitch for note in notes if not is_drum[note.track]] == pitches


def test_a_wrong_note_is_more_surprising_to_a_model_that_knows_the_piece() -> None:
    from rwkv_music import load_model

    model = load_model("bach")
    score = tune(bars=8, parts=1)
    wrong = tune(bars=8, parts=1)
    wrong.tracks[0].notes[12].pitch = 11
    right_nats = surprise(model, score).notes[12].by_kind["pitch"]
    assert surprise(model, wrong).notes[12].by_kind["pitch"] > right_nats + 2
