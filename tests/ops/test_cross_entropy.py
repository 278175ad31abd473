"""Only scored positions reach the head."""

import math

import pytest
import torch

from rwkv_music.errors import InputError
from rwkv_music.ops.cross_entropy import completion_loss, completion_nats, completion_objective


def test_two_marked_tokens_average_in_nats() -> None:
    hidden = torch.tensor([[[3.0], [0.0], [1.0]]])
    head = torch.tensor([[0.0], [math.log(3)]])
    mask = torch.tensor([[False, True, True]])
    # Even odds cost ln 2; the target with odds of one to three costs ln 4.
    nats = completion_nats(hidden, head, torch.tensor([[1, 1, 0]]), mask)
    torch.testing.assert_close(nats, torch.tensor([math.log(2), math.log(4)]))


def test_the_head_sees_the_scored_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Size] = []
    real = torch.nn.functional.linear

    def spy(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        seen.append(rows.shape)
        return real(rows, weight)

    monkeypatch.setattr(torch.nn.functional, "linear", spy)
    mask = torch.zeros(3, 5, dtype=torch.bool)
    mask[0, 1] = mask[2, 4] = True
    completion_loss(torch.randn(3, 5, 8), torch.randn(11, 8), torch.zeros(3, 5).long(), mask)
    assert seen == [torch.Size([2, 8])]


def test_half_precision_logits_are_compared_in_float32() -> None:
    hidden = torch.randn(1, 2, 8).bfloat16()
    mask = torch.ones(1, 2, dtype=torch.bool)
    nats = completion_nats(hidden, torch.randn(11, 8).bfloat16(), torch.zeros(1, 2).long(), mask)
    assert nats.dtype == torch.float32


def test_a_mask_that_marks_nothing_is_refused() -> None:
    mask = torch.zeros(1, 2, dtype=torch.bool)
    with pytest.raises(InputError, match="marks none of the 2 positions"):
        completion_loss(torch.randn(1, 2, 4), torch.randn(5, 4), torch.zeros(1, 2).long(), mask)


def test_only_scored_positions_have_a_gradient_and_the_rest_may_be_nan() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 4, 8, generator=generator)
    head = torch.randn(11, 8, generator=generator, requires_grad=True)
    mask = torch.tensor([[True, False, False, True], [False, False, True, False]])
    hidden[~mask] = float("nan")
    hidden.requires_grad_()
    completion_loss(hidden, head, torch.full((2, 4), 7), mask).backward()
    assert hidden.grad is not None
    assert head.grad is not None
    assert not hidden.grad[~mask].any()
    assert hidden.grad[mask].isfinite().all()
    assert (hidden.grad[mask] != 0).any(dim=-1).all()
    assert head.grad.isfinite().all()


def test_targets_that_are_not_scored_do_not_matter() -> None:
    hidden, head = torch.randn(2, 3, 4), torch.randn(5, 4)
    mask = torch.tensor([[False, True, True], [False, False, True]])
    targets = torch.tensor([[4, 1, 2], [4, 4, 3]])
    others = torch.tensor([[0, 1, 2], [3, 1, 3]])
    loss = completion_loss(hidden, head, targets, mask)
    assert torch.equal(loss, completion_loss(hidden, head, others, mask))


def test_nats_come_in_reading_order_and_the_loss_is_their_mean() -> None:
    # One channel, head rows 0 and 1: logits (0, h); the target is entry 0, which costs ln(1 + e^h).
    hidden = torch.tensor([[[0.0], [1.0]], [[2.0], [3.0]]])
    head = torch.tensor([[0.0], [1.0]])
    mask = torch.tensor([[True, False], [True, True]])
    expected = [math.log1p(math.exp(value)) for value in (0.0, 2.0, 3.0)]
    zeros = torch.zeros(2, 2).long()
    assert completion_nats(hidden, head, zeros, mask).tolist() == pytest.approx(expected)
    loss = completion_loss(hidden, head, zeros, mask)
    assert loss.item() == pytest.approx(sum(expected) / 3)


def test_label_smoothing_spreads_a_share_of_the_target_and_leaves_the_nats() -> None:
    # Odds of 1 to 3: the target costs ln 4, the other entry ln(4/3); a tenth goes to both alike.
    hidden, head = torch.tensor([[[1.0]]]), torch.tensor([[0.0], [math.log(3)]])
    target, mask = torch.tensor([[0]]), torch.tensor([[True]])
    objective, nats = completion_objective(hidden, head, target, mask, label_smoothing=0.1)
    expected = 0.9 * math.log(4) + 0.1 * (math.log(4) + math.log(4 / 3)) / 2
    assert objective.item() == pytest.approx(expected)
    assert nats.item() == pytest.approx(math.log(4))


def test_the_logit_penalty_pulls_the_largest_logit_of_scored_positions_alone() -> None:
    # Gradient of the logits = that of the mean nats + penalty / positions * largest logit.
    head = torch.eye(3)
    hidden = torch.tensor([[[2.0, 1.0, -1.0], [5.0, 0.0, 0.0], [0.0, 0.5, 4.0]]])
    mask = torch.tensor([[True, False, True]])
    targets = torch.tensor([[1, 0, 2]])
    gradients = []
    for penalty in (0.0, 0.1):
        logits = hidden.clone().requires_grad_()
        objective, nats = completion_objective(logits, head, targets, mask, logit_penalty=penalty)
        assert torch.equal(objective.detach(), nats)
        objective.mean().backward()
        assert logits.grad is not None
        gradients.append(logits.grad)
    pull = torch.zeros(1, 3, 3)
    pull[0, 0, 0] = 0.1 / 2 * 2.0
    pull[0, 2, 2] = 0.1 / 2 * 4.0
    torch.testing.assert_close(gradients[1] - gradients[0], pull)
