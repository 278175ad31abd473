"""The memory benchmark measures a step and the head, each in a process of its own."""

from pathlib import Path

import pytest
import torch

from benchmarks.step_memory import FORMS, HEADS, head_loss, random_batch
from tests.benchmarks.quick import quick_report


@pytest.mark.long
def test_quick_mode_writes_a_row_for_each_form(tmp_path: Path) -> None:
    report = quick_report("step_memory", tmp_path)
    assert [row["form"] for row in report["rows"]] == list(FORMS)
    assert [row["form"] for row in report["heads"]] == list(HEADS)
    for row in (*report["rows"], *report["heads"]):
        assert row["peak_bytes"] > 0


def test_the_three_heads_are_the_same_loss_with_the_same_gradients() -> None:
    batch = random_batch(17, positions=12, rows=2, seed=0)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(17, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    losses = [head_loss(form, hidden, weight, batch) for form in HEADS]
    gradients = [torch.autograd.grad(loss, (hidden, weight)) for loss in losses]
    for loss, both in zip(losses[1:], gradients[1:], strict=True):
        torch.testing.assert_close(loss, losses[0])
        for actual, expected in zip(both, gradients[0], strict=True):
            torch.testing.assert_close(actual, expected)
