"""The benchmark of rankings compares first and random prompt by prompt."""

import numpy as np
import pytest

from benchmarks.ranking import mean, paired


def test_the_difference_is_paired_and_prompts_without_a_figure_are_left_out() -> None:
    nan = float("nan")
    figures = paired(np.array([[3.0, 1.0], [4.0, 2.0], [nan, 9.0], [9.0, nan]]))
    # Both prompts differ by 2, so that every resample does.
    assert figures == {
        "prompts": 2, "first": 3.5, "random": 1.5, "difference": 2.0, "interval": [2.0, 2.0]
    }  # fmt: skip


def test_the_interval_holds_the_mean_of_most_resamples() -> None:
    values = np.array([[1.0, 0.0], [0.0, 1.0]] * 50)
    low, high = paired(values)["interval"]
    # The mean of 100 differences of -1 or 1 has a standard deviation of a tenth.
    assert low == pytest.approx(-0.196, abs=0.03)
    assert high == pytest.approx(0.196, abs=0.03)


def test_without_a_figure_there_is_only_the_number_of_prompts() -> None:
    assert paired(np.full((3, 2), np.nan)) == {"prompts": 0}


def test_random_is_the_mean_of_all_candidates() -> None:
    assert mean([{"note_f1": 0.25}, {"note_f1": 0.75}]) == {"note_f1": 0.5}
