"""The tools of the benchmarks: turns, ratios, errors, and what a forward keeps."""

import pytest
import torch

from benchmarks.measuring import (
    Timing,
    alternate,
    held_bytes,
    rounded,
    saved_bytes,
    time_ratio,
)
from rwkv_music.gpu_benchmark.accuracy import relative_error


def test_implementations_take_turns_in_both_orders() -> None:
    called: list[str] = []
    implementations = {name: lambda name=name: called.append(name) for name in "ab"}
    timings = alternate(implementations, repeats=3, warm_up=1)
    assert "".join(called) == "ab" + "ab" + "ba" + "ab"
    assert [len(timings[name].seconds) for name in "ab"] == [3, 3]


def test_a_ratio_is_taken_turn_by_turn() -> None:
    # The machine was three times slower in the last turn, for both: the ratio does not mind.
    ours = Timing((1.0, 2.0, 6.0), (1.0, 1.0, 1.0))
    theirs = Timing((2.0, 2.0, 12.0), (4.0, 5.0, 4.0))
    assert time_ratio(ours, theirs) == {
        "median": 0.5, "lowest": 0.5, "highest": 1.0, "processor_median": 0.25,
    }  # fmt: skip
    assert ours.to_dict() == {"seconds": 2.0, "spread": 2.5, "processor_seconds": 1.0}


def test_the_relative_error_by_hand() -> None:
    truth = torch.tensor([3.0, 4.0])
    assert relative_error(truth + torch.tensor([0.0, 0.5]), truth) == pytest.approx(0.1)


def test_what_a_forward_keeps_is_counted_once_and_without_parameters() -> None:
    weight = torch.ones(10, requires_grad=True)

    def forward() -> torch.Tensor:
        grown = weight.exp()  # kept by exp itself, and by the product: 10 numbers of 4 bytes
        return grown * weight

    assert saved_bytes(forward, without=[weight]) == 40
    assert saved_bytes(forward) == 80


def test_what_a_forward_holds_is_counted_with_its_result() -> None:
    weight = torch.ones(300_000, requires_grad=True)
    held = held_bytes(lambda: weight.exp() * 2)  # exp keeps its result, the product is the result
    if held is None:
        pytest.skip("only glibc tells what is in use")
    assert held == pytest.approx(2 * 4 * 300_000, rel=0.01)


def test_figures_are_rounded_to_significant_digits() -> None:
    assert [rounded(value, 2) for value in (123.4, 0.01234)] == [120.0, 0.012]
