"""Only scored positions reach the head."""

import math

import pytest
import torch

from rwkv_music.errors import InputError
from rwkv_music.ops.cross_entropy import completion_loss, completion_nats


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
