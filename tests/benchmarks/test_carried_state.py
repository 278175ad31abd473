"""The benchmark of carried states trains three ways that differ in what they say."""

import math
from pathlib import Path

import numpy as np
import torch

from benchmarks.carried_state import WAYS, StateReset
from rwkv_music.data import Piece
from rwkv_music.data.loading.long_context_loader import LongContextLoader
from rwkv_music.score import save_score
from tests.benchmarks.quick import quick_report
from tests.music import tune


def test_quick_mode_trains_each_way_and_writes_a_row_for_each_length(tmp_path: Path) -> None:
    folder = tmp_path / "tunes"
    for seed in range(12):
        save_score(tune(bars=12, seed=seed), folder / f"{seed}.mid")
    report = quick_report(
        "carried_state", tmp_path, str(folder), "--runs", str(tmp_path / "runs"), "--preset",
        "tiny", "--steps", "2", "--seeds", "3", "--lengths", "40", "80", "--context-length", "40",
    )  # fmt: skip
    assert [(row["way"], row["seed"], row["length"]) for row in report["rows"]] == [
        (way, 3, length) for way in WAYS.values() for length in (40, 80)
    ]
    assert all(math.isfinite(row["carried"]) for row in report["rows"])
    by_way = {row["way"]: row["carried"] for row in report["rows"]}
    assert len(set(by_way.values())) == len(WAYS)
    options = ("--seeds", "3", "4", "--lengths", "40", "80", "--context-length", "40", "--as-it-is")
    again = quick_report(
        "carried_state", tmp_path, str(folder), "--runs", str(tmp_path / "runs"), *options
    )
    assert again["rows"] == report["rows"]


def test_spans_with_a_state_that_is_reset_are_the_same_ones() -> None:
    pieces = [
        Piece(name, np.arange(size, dtype="uint16"), name) for name, size in (("a", 30), ("b", 50))
    ]
    carried, anew = (
        kind(pieces, batch_size=2, context_length=8, seed=0)
        for kind in (LongContextLoader, StateReset)
    )
    for _ in range(5):
        one, other = next(carried), next(anew)
        assert torch.equal(one.tokens, other.tokens)
        assert (one.continues, other.continues) == (True, False)
