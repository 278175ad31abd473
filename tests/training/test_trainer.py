"""One step, by itself: batches added up, kinds told apart, numbers that are not finite refused."""

import numpy as np
import pytest
import torch

from rwkv_music.data import Batch, Windows, collate
from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.tokenizer.vocabulary import TokenType
from rwkv_music.training import Trainer, TrainingConfig
from tests.music import piece

TOKENIZER = Tokenizer()
WINDOWS = Windows(
    [piece(8, seed=seed) for seed in range(2)], TOKENIZER, prompt_bars=2, completion_bars=2
)
EXAMPLES = list(WINDOWS)[:6]
CONFIG = TrainingConfig.preset("tiny", corpus="", out="")


def new_trainer(config: TrainingConfig = CONFIG) -> Trainer:
    model = RWKV7(ModelConfig(vocab_size=TOKENIZER.vocab_size, num_layers=2, dim=64))
    initialize(model, seed=0)
    return Trainer(model, iter(()), config, vocabulary=TOKENIZER.vocabulary)


def gradients(batches: list[Batch]) -> dict[str, torch.Tensor]:
    trainer = new_trainer(TrainingConfig.preset("tiny", corpus="", out="", max_grad_norm=1e9))
    # Away from the first weights, where most gradients are zero.
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for parameter in trainer.model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    trainer.step(1, batches)
    return {
        name: value.grad for name, value in trainer.model.named_parameters()
        if value.grad is not None
    }  # fmt: skip


def test_accumulated_batches_give_the_gradient_of_the_joint_batch() -> None:
    # Uneven batches: each scored token must weigh the same, not each batch.
    joint = gradients([collate(EXAMPLES)])
    parts = gradients([collate(EXAMPLES[:1]), collate(EXAMPLES[1:3]), collate(EXAMPLES[3:])])
    assert joint.keys() == parts.keys()
    for name, expected in joint.items():
        scale = float(expected.abs().max())
        torch.testing.assert_close(parts[name], expected, rtol=0, atol=1e-5 * scale, msg=name)


def test_the_reported_loss_is_the_mean_over_all_batches_and_its_kinds_add_up_to_it() -> None:
    report = new_trainer().step(1, [collate(EXAMPLES[:1]), collate(EXAMPLES[1:])])
    scored = np.concatenate([example.ids[example.completion_start :] for example in EXAMPLES])
    kinds = TOKENIZER.vocabulary.types_of(scored)
    assert set(report.loss_by_type) == {TokenType(kind).name for kind in np.unique(kinds).tolist()}
    total = sum(
        value * int((kinds == TokenType[name]).sum()) for name, value in report.loss_by_type.items()
    )
    assert total / len(scored) == pytest.approx(report.loss_train, rel=1e-5)
    # Before the first step every token is about equally likely.
    assert report.loss_train == pytest.approx(np.log(TOKENIZER.vocab_size), rel=0.05)
    assert report.scored_fraction == pytest.approx(len(scored) / sum(
        batch.tokens.numel() for batch in (collate(EXAMPLES[:1]), collate(EXAMPLES[1:]))
    ))  # fmt: skip


def test_label_smoothing_and_logit_penalty_change_the_step_but_not_the_reported_loss() -> None:
    told, moved = [], []
    for settings in ({}, {"label_smoothing": 0.1}, {"logit_penalty": 1.0}):
        trainer = new_trainer(TrainingConfig.preset("tiny", corpus="", out="", **settings))
        told.append(trainer.step(1, [collate(EXAMPLES)]).loss_train)
        # A second step: at the first the largest logits are next to nothing.
        trainer.step(2, [collate(EXAMPLES)])
        moved.append(trainer.model.head.weight.detach().clone())
    assert told[0] == told[1] == told[2]
    assert not torch.equal(moved[0], moved[1])
    assert not torch.equal(moved[0], moved[2])


@pytest.mark.parametrize("where", ["loss", "gradient norm"])
def test_a_number_that_is_not_finite_changes_no_parameter(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = new_trainer()
    if where == "loss":
        with torch.no_grad():
            trainer.model.head.weight[5] = float("inf")
    else:
        monkeypatch.setattr(
            torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(float("inf"))
        )
    before = [value.detach().clone() for value in trainer.model.parameters()]
    with pytest.raises(FloatingPointError, match=rf"the {where} is (nan|inf) at step 7: lower"):
        trainer.step(7, [collate(EXAMPLES)])
    for value, kept in zip(trainer.model.parameters(), before, strict=True):
        assert torch.equal(value, kept)


def test_batches_without_scored_tokens_are_refused() -> None:
    batch = collate(EXAMPLES)
    silent = Batch(batch.tokens, batch.targets, torch.zeros_like(batch.completion_mask))
    with pytest.raises(InputError, match="no target of this step is scored"):
        new_trainer().step(1, [silent])
