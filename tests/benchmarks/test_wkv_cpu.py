"""The WKV benchmark: peers that compute the same, errors within their limits, every figure."""

from pathlib import Path

import pytest
import torch

from benchmarks.trained_inputs import recurrence_inputs
from benchmarks.wkv_cpu import FAMILIES, NAMES, errors, forward_and_backward, leaves_of, weights_of
from benchmarks.wkv_peers import fla_peers, step_loop
from rwkv_music.ops.wkv7 import available_backends
from tests.benchmarks.quick import quick_report

LIMITS = {"float32": 5e-6, "bfloat16": 5e-3}


def test_the_loop_left_to_autograd_computes_the_recurrence_and_its_gradients() -> None:
    actual = errors(step_loop, recurrence_inputs(2, 20, 2), torch.float32, seed=0)
    assert len(actual) == 2 + len(NAMES)
    assert max(actual.values()) < 1e-6


def test_the_sum_that_is_differentiated_weighs_every_result() -> None:
    leaves = leaves_of(recurrence_inputs(1, 3, 1), torch.float64)
    *_, of_state = forward_and_backward(step_loop, leaves, weights_of(leaves, seed=0))
    assert of_state.count_nonzero() == of_state.numel()


def test_without_the_peers_package_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    peers, why_not = fla_peers()
    assert peers == {}
    assert "not installed" in why_not


def test_quick_mode_writes_errors_within_the_limits(tmp_path: Path) -> None:
    report = quick_report("wkv_cpu", tmp_path)
    rows = report["rows"]
    ours = {row["implementation"] for row in rows if row["ours"]}
    assert ours == set(available_backends("cpu"))
    assert rows[-1]["threads"] == 1
    for row in rows:
        assert row["worst_error"] < LIMITS[row["precision"]], row
        assert row["saved_bytes_per_token_at_256"] >= row["inputs_bytes_per_token_at_256"]
        assert row["times_faster_than"]["reference"]["median"] > 0
    assert {row["family"] for row in report["accuracy"]} == set(FAMILIES)
    for row in report["accuracy"]:
        assert row["worst_error"] < LIMITS["float32"], row
