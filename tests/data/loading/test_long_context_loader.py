"""The long-context loader leaves nothing out, and the carried state connects its batches."""

import json
from unittest.mock import patch

import numpy as np
import pytest
import symusic
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.data import Piece
from rwkv_music.data.augmentation import RandomAugmentation
from rwkv_music.data.loading.long_context_loader import LongContextLoader
from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelConfig
from rwkv_music.ops.cross_entropy import completion_nats
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.training import Trainer, TrainingConfig
from tests.data.loading.test_window_loader import as_lists
from tests.model.test_rwkv7 import perturbed
from tests.music import piece, tune

VOCABULARY = 23
MODEL = perturbed(ModelConfig(vocab_size=VOCABULARY, num_layers=2, dim=64))


def pieces(lengths: list[int]) -> list[Piece]:
    rng = np.random.default_rng(0)
    return [
        Piece(f"{index}", rng.integers(1, VOCABULARY, length).astype(np.uint16), f"{index}")
        for index, length in enumerate(lengths)
    ]


@settings(max_examples=20)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5).filter(lambda all_: max(all_) > 1),
    rows=st.integers(1, 3),
    context=st.integers(1, 17),
)
def test_an_epoch_reads_every_piece_once_without_padding(
    lengths: list[int], rows: int, context: int
) -> None:
    music = pieces(lengths)
    usable = [own for own in music if len(own.ids) > 1]
    loader = LongContextLoader(music, batch_size=rows, context_length=context, seed=3)
    read: list[list[list[int]]] = [[] for _ in range(rows)]
    # Until every row is in the second epoch, so that the first is over.
    while min(index for index, _ in loader.position()["rows"]) < len(usable):
        batch = next(loader)
        assert batch.tokens.shape == (rows, context)
        assert batch.completion_mask.all()
        assert batch.continues
        assert batch.resets is not None
        for row in range(rows):
            for token, target, begins in zip(
                batch.tokens[row].tolist(),
                batch.targets[row].tolist(),
                batch.resets[row].tolist(),
                strict=True,
            ):
                if begins:
                    read[row].append([token])
                assert read[row][-1][-1] == token
                read[row][-1].append(target)
    whole = [tuple(segment) for row in read for segment in row]
    for own in usable:
        assert whole.count(tuple(own.ids.tolist())) >= 1


def test_every_token_but_the_first_is_scored_with_augmentation() -> None:
    score = tune(bars=3, qpm=100)
    score.tempos.append(symusic.Tempo(384, qpm=120.0))
    tokenizer = Tokenizer()
    ids = tokenizer.encode(score)
    augment = RandomAugmentation(vocabulary=tokenizer.vocabulary)
    loader = LongContextLoader(
        [Piece("two tempos", ids, "1")], batch_size=1, context_length=8, seed=0, augment=augment
    )
    read = [next(loader) for _ in range(2 * len(ids) // 8)]
    fractions = tokenizer.vocabulary.tempo_fraction
    assert any(int(token) in fractions for batch in read for token in batch.tokens[0])
    assert all(batch.completion_mask.all() for batch in read)


@settings(max_examples=15)
@given(rows=st.integers(1, 3), context=st.integers(1, 60), taken=st.integers(0, 12))
def test_a_long_context_loader_continues_from_a_position(
    rows: int, context: int, taken: int
) -> None:
    augment = RandomAugmentation(vocabulary=Tokenizer().vocabulary)

    def loader() -> LongContextLoader:
        music = [piece(bars, seed=bars) for bars in (2, 3, 5)]
        return LongContextLoader(
            music, batch_size=rows, context_length=context, seed=3, augment=augment
        )

    first = loader()
    for _ in range(taken):
        next(first)
    position = json.loads(json.dumps(first.position()))
    second = loader()
    next(second)
    second.seek(position)
    for _ in range(8):
        assert as_lists(next(first)) == as_lists(next(second))


def test_the_order_of_an_epoch_is_drawn_once() -> None:
    loader = LongContextLoader(pieces([5] * 40), batch_size=2, context_length=8, seed=3)
    with patch("numpy.random.default_rng", wraps=np.random.default_rng) as drawn:
        while min(index for index, _ in loader.position()["rows"]) < 3 * 40:
            next(loader)
    assert [call.args[0] for call in drawn.call_args_list[:3]] == [[3, 0], [3, 1], [3, 2]]
    assert len(drawn.call_args_list) <= 4


def test_the_loss_of_spans_equals_that_of_one_long_forward() -> None:
    music = pieces([50, 33])
    trainer = Trainer(MODEL, iter(()), TrainingConfig(corpus="", out="", dropout=0.0))
    loader = LongContextLoader(music, batch_size=1, context_length=9, seed=0)
    read = []
    while loader.position()["rows"][0][0] < 2:
        batch = next(loader)
        read.append((batch, trainer.loss(batch, divide_by=1).nats))
    stretched = torch.cat([nats for _, nats in read])
    start = 0
    order = [0, 1] if read[0][0].tokens[0, 0] == int(music[0].ids[0]) else [1, 0]
    for index in order:
        ids = torch.from_numpy(music[index].ids.astype("int64"))[None]
        hidden, _ = MODEL.hidden(ids[:, :-1])
        mask = torch.ones_like(ids[:, 1:], dtype=torch.bool)
        alone = completion_nats(hidden, MODEL.head.weight, ids[:, 1:], mask)
        torch.testing.assert_close(
            stretched[start : start + len(alone)], alone.detach(), rtol=1e-10, atol=1e-12
        )
        start += len(alone)
    assert trainer.state.carried is not None
    assert not trainer.state.carried.layers[0].wkv.requires_grad


def test_without_the_carried_state_the_loss_differs() -> None:
    trainer = Trainer(MODEL, iter(()), TrainingConfig(corpus="", out="", dropout=0.0))
    loader = LongContextLoader(pieces([60]), batch_size=1, context_length=20, seed=0)
    trainer.loss(next(loader), divide_by=1)
    second = next(loader)
    carried = trainer.loss(second, divide_by=1).objective.item()
    trainer.state.carried = None
    assert abs(trainer.loss(second, divide_by=1).objective.item() - carried) > 1e-4


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_model_learns_from_a_long_context_loader(precision: str) -> None:
    model = RWKV7(ModelConfig(vocab_size=VOCABULARY, num_layers=2, dim=64))
    model.load_state_dict(MODEL.float().state_dict())
    MODEL.double()
    config = TrainingConfig(
        corpus="", out="", steps=12, warmup_steps=0, learning_rate=3e-3, precision=precision
    )
    loader = LongContextLoader(pieces([40, 25]), batch_size=2, context_length=16, seed=0)
    losses = [report.loss_train for report in Trainer(model, loader, config)]
    assert losses[-1] < losses[0] - 0.3


def test_no_pieces_or_no_length_are_refused() -> None:
    with pytest.raises(InputError, match="none of the 1 pieces has two tokens"):
        LongContextLoader(pieces([1]), batch_size=1, context_length=4, seed=0)
    with pytest.raises(InputError, match="context_length must be at least 1, got 0"):
        LongContextLoader(pieces([5]), batch_size=1, context_length=0, seed=0)
