"""The learning rate, by hand."""

import pytest

from rwkv_music.training.schedule import learning_rate_at


def rate(step: int, warmup_steps: int = 4) -> float:
    return learning_rate_at(step, peak=2.0, warmup_steps=warmup_steps, steps=12)


def test_it_rises_linearly_peaks_and_ends_at_a_tenth() -> None:
    assert [rate(step) for step in (1, 2, 4)] == [0.5, 1.0, 2.0]
    assert rate(8) == pytest.approx(2.0 * 0.55)
    assert rate(12) == pytest.approx(0.2)


def test_it_never_rises_after_the_warm_up() -> None:
    rates = [rate(step) for step in range(4, 13)]
    assert rates == sorted(rates, reverse=True)


def test_without_warm_up_the_first_step_is_already_on_the_cosine() -> None:
    assert rate(1, warmup_steps=0) == pytest.approx(2.0, rel=0.02)
