"""The learning rate, by hand."""

import pytest

from rwkv_music.errors import InputError
from rwkv_music.training.schedule import LearningRateSchedule


def rate(step: int, warmup_steps: int = 4) -> float:
    return LearningRateSchedule(peak=2.0, warmup_steps=warmup_steps, num_steps=12).at(step)


def test_it_rises_linearly_peaks_and_ends_at_a_tenth() -> None:
    assert [rate(step) for step in (1, 2, 4)] == [0.5, 1.0, 2.0]
    assert rate(8) == pytest.approx(2.0 * 0.55)
    assert rate(12) == pytest.approx(0.2)


def test_it_never_rises_after_the_warm_up() -> None:
    rates = [rate(step) for step in range(4, 13)]
    assert rates == sorted(rates, reverse=True)


def test_without_warm_up_the_first_step_is_already_on_the_cosine() -> None:
    assert rate(1, warmup_steps=0) == pytest.approx(2.0, rel=0.02)


def test_warm_up_stable_decay_stays_at_the_peak_and_falls_in_its_last_part() -> None:
    stable = LearningRateSchedule(
        peak=2.0, warmup_steps=4, num_steps=20, schedule="wsd", decay_fraction=0.2
    ).at
    assert [stable(step) for step in (1, 2, 4, 5, 16)] == [0.5, 1.0, 2.0, 2.0, 2.0]
    # One step into the last four: 1 - sqrt(1/4) of the way from a tenth of the peak to the peak.
    assert stable(17) == pytest.approx(2.0 * (0.1 + 0.9 * 0.5))
    assert stable(20) == pytest.approx(0.2)


def test_a_schedule_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match=r"`schedule` must be one of \('cosine', 'wsd'\), got 'x'"):
        LearningRateSchedule(peak=1.0, warmup_steps=0, num_steps=2, schedule="x")
