"""Only scored positions reach the head, a chunk of them at a time."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from rwkv_music.errors import InputError
from rwkv_music.ops.cross_entropy import (
    completion_loss,
    completion_nats,
    completion_objective,
)


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
    # Gradient of the logits = that of the mean nats + penalty / positions * largest logit; 5 times.
    head = torch.eye(3)
    hidden = torch.tensor([[[2.0, 1.0, -1.0], [5.0, 0.0, 0.0], [0.0, 0.5, 4.0]]])
    mask = torch.tensor([[True, False, True]])
    targets = torch.tensor([[1, 0, 2]])
    gradients = []
    for penalty in (0.0, 0.1):
        logits = hidden.clone().requires_grad_()
        objective, nats = completion_objective(logits, head, targets, mask, logit_penalty=penalty)
        assert objective.item() == pytest.approx(nats.mean().item())
        (5 * objective).backward()
        assert logits.grad is not None
        gradients.append(logits.grad)
    pull = torch.zeros(1, 3, 3)
    pull[0, 0, 0] = 5 * 0.1 / 2 * 2.0
    pull[0, 2, 2] = 5 * 0.1 / 2 * 4.0
    torch.testing.assert_close(gradients[1] - gradients[0], pull)


def test_batches_divided_by_their_common_count_add_up_to_the_mean_over_both() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 6, 4, generator=generator)
    head = torch.randn(7, 4, generator=generator)
    targets = torch.randint(7, (2, 6), generator=generator)
    mask = torch.tensor([[True] * 5 + [False], [False] * 5 + [True]])
    whole = completion_loss(hidden, head, targets, mask)
    parts = [
        completion_objective(
            hidden[row : row + 1], head, targets[row : row + 1], mask[row : row + 1], divide_by=6
        ).objective
        for row in range(2)
    ]
    torch.testing.assert_close(parts[0] + parts[1], whole)
    nothing = completion_objective(hidden, head, targets, mask & False, divide_by=6)
    assert nothing.objective == 0
    assert not nothing.nats.numel()


def plain(hidden: Tensor, head: Tensor, targets: Tensor, mask: Tensor, smoothing: float) -> Tensor:
    return functional.cross_entropy(hidden[mask] @ head.T, targets[mask], label_smoothing=smoothing)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    scored=st.integers(1, 20),
    chunk=st.integers(1, 23),
    smoothing=st.sampled_from([0.0, 0.1, 0.9]),
)
def test_loss_and_gradients_are_those_of_the_plain_form_whatever_the_chunk(
    seed: int, scored: int, chunk: int, smoothing: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(2, 10, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    head = torch.randn(13, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    targets = torch.randint(13, (2, 10), generator=generator)
    mask = (torch.randperm(20, generator=generator) < scored).view(2, 10)
    expected = plain(hidden, head, targets, mask, smoothing)
    expected_gradients = torch.autograd.grad(3 * expected, [hidden, head])
    actual = completion_objective(
        hidden, head, targets, mask, label_smoothing=smoothing, chunk=chunk
    )
    torch.testing.assert_close(actual.objective, expected)
    nats = completion_nats(hidden, head, targets, mask, chunk=chunk)
    torch.testing.assert_close(actual.nats, nats.detach())
    assert nats.shape == (scored,)
    for mine, theirs in zip(
        torch.autograd.grad(3 * actual.objective, [hidden, head]), expected_gradients, strict=True
    ):
        torch.testing.assert_close(mine, theirs)


def test_a_frozen_head_and_frozen_states_cost_no_gradient() -> None:
    hidden, head = torch.randn(1, 4, 3), torch.randn(5, 3)
    targets, mask = torch.zeros(1, 4).long(), torch.ones(1, 4, dtype=torch.bool)
    for mine in (hidden, head):
        mine.requires_grad_()
        completion_loss(hidden, head, targets, mask, chunk=3).backward()
        assert mine.grad is not None
        mine.requires_grad_(False)
    assert not completion_loss(hidden, head, targets, mask).requires_grad


def test_without_gradients_nothing_but_the_logits_is_multiplied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hidden, head = torch.randn(1, 4, 3), torch.randn(5, 3, requires_grad=True)
    monkeypatch.setattr(torch.Tensor, "addmm_", None)
    mask = torch.ones(1, 4, dtype=torch.bool)
    with torch.no_grad():
        assert completion_loss(hidden, head, torch.zeros(1, 4).long(), mask) > 0
    with pytest.raises(TypeError, match="not callable"):
        completion_loss(hidden, head, torch.zeros(1, 4).long(), mask)


def test_under_autocast_products_are_narrow_and_sums_are_not() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(1, 64, 16, generator=generator, requires_grad=True)
    head = torch.randn(11, 16, generator=generator, requires_grad=True)
    targets = torch.randint(11, (1, 64), generator=generator)
    mask = torch.ones(1, 64, dtype=torch.bool)
    gradients = []
    for narrow in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            actual = completion_objective(hidden, head, targets, mask, chunk=8)
        assert actual.objective.dtype == actual.nats.dtype == torch.float32
        gradients.append(torch.autograd.grad(actual.objective, [hidden, head]))
    for wide, narrow_one in zip(*gradients, strict=True):
        assert narrow_one.dtype == torch.float32
        assert not torch.equal(wide, narrow_one)
        # Numbers of 8 bits are off by up to 2^-9 each: 0.006 of the largest is found.
        torch.testing.assert_close(narrow_one, wide, rtol=0, atol=0.02 * wide.abs().max().item())


def test_no_chunk_is_larger_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    real = torch.nn.functional.linear

    def spy(part: Tensor, weight: Tensor) -> Tensor:
        rows.append(len(part))
        return real(part, weight)

    monkeypatch.setattr(torch.nn.functional, "linear", spy)
    hidden, head = torch.randn(1, 10, 4), torch.randn(7, 4, requires_grad=True)
    mask = torch.ones(1, 10, dtype=torch.bool)
    targets = torch.zeros(1, 10).long()
    completion_loss(hidden, head, targets, mask, chunk=4).backward()
    assert rows == [4, 4, 2]
    # Left to itself, a chunk's logits take 64 MiB: 256 rows of 65,536 entries.
    rows.clear()
    completion_loss(torch.randn(1, 300, 2), torch.randn(65_536, 2), *[
        torch.zeros(1, 300).long(), torch.ones(1, 300, dtype=torch.bool)
    ])  # fmt: skip
    assert rows == [256, 44]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\), got 1.0"),
        ({"chunk": 0}, "chunk must be at least 1 position, got 0"),
    ],
)
def test_options_out_of_range_are_refused(option: dict[str, Any], message: str) -> None:
    mask = torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(InputError, match=message):
        completion_objective(
            torch.randn(1, 2, 4), torch.randn(5, 4), torch.zeros(1, 2).long(), mask, **option
        )
