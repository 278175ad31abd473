"""The training benchmark compares equals and writes every figure."""

import math
from pathlib import Path

import pytest
import torch

from benchmarks.train_step import count_parameters
from benchmarks.transformer import Transformer
from rwkv_music.model import RWKV7, ModelConfig
from tests.benchmarks.quick import quick_report


def test_the_models_compared_have_equally_many_parameters() -> None:
    ours = RWKV7(ModelConfig(vocab_size=1024, num_layers=6, dim=256))
    theirs = Transformer(vocab_size=1024, num_layers=6, width=256, positions=2048, seed=0)
    assert count_parameters(theirs) == pytest.approx(count_parameters(ours), rel=0.01)


def test_the_transformer_has_the_size_of_gpt2() -> None:
    # GPT-2 small: 124,439,808 with the head tied to the embedding; ours has a head of its own.
    with torch.device("meta"):
        small = Transformer(vocab_size=50257, num_layers=12, width=768, positions=1024, seed=0)
    assert count_parameters(small) == 124_439_808 + 50257 * 768


def test_the_transformer_sees_earlier_tokens_and_no_later_ones() -> None:
    model = Transformer(vocab_size=10, num_layers=2, width=64, positions=8, seed=0)
    ids = torch.arange(8)[None]
    changed = ids.clone()
    changed[0, 4] = 9
    difference = (model(ids) - model(changed)).abs().amax(-1)[0]
    assert not difference[:4].any()
    assert difference[4:].all()


def test_quick_mode_writes_a_row_for_each_model_and_precision(tmp_path: Path) -> None:
    report = quick_report("train_step", tmp_path)
    rows = report["rows"]
    assert {row["precision"] for row in rows} == {"float32", "bfloat16"}
    assert {row["model"] for row in rows} == {"rwkv7", "transformer"}
    for row in rows:
        assert row["first_loss"] == pytest.approx(math.log(report["settings"]["vocabulary"]), abs=1)
        assert row["last_loss"] < row["first_loss"]
        assert row["saved_bytes_per_token_and_layer"] > 0
        assert row["peak_bytes"] > 0
        ratio = row["time_over_transformer"]
        assert ratio["lowest"] <= ratio["median"] <= ratio["highest"]
