"""The decoding benchmark: logits near the truth, losses counted right, every figure."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.decode import READING, readings
from benchmarks.decoders import ModelStep, OurDecoder, perturbed_model
from benchmarks.music_loss import nats_per_token
from rwkv_music.model import ModelConfig
from rwkv_music.native import load_library
from tests.benchmarks.quick import REPOSITORY, quick_report

LIMITS = {"float32": 1e-5, "bfloat16": 0.03, "int8": 0.1}
"""Of the logits' relative error."""


class Undecided:
    """Expects each of four tokens alike, whatever it reads; counts what it reads."""

    def __init__(self) -> None:
        self.read = 0

    def start(self, batch_size: int) -> int:
        return batch_size

    def step(self, ids: Tensor, state: int) -> tuple[Tensor, int]:
        assert len(ids) == state
        self.read += len(ids)
        return torch.zeros(len(ids), 4), state

    prefill = step


def test_the_loss_is_a_mean_over_real_tokens_alone() -> None:
    streams = [np.array(ids, dtype=np.uint16) for ids in ([0, 1], [1, 2, 3, 0, 1])]
    undecided = Undecided()
    assert nats_per_token(undecided, streams) == pytest.approx(math.log(4))
    assert undecided.read == 2 * 4


def test_every_part_of_a_perturbed_model_is_in_use() -> None:
    model = perturbed_model(ModelConfig(vocab_size=16, num_layers=2, dim=64), seed=0)
    model(torch.tensor([[1, 2, 3]]))[0].square().sum().backward()
    unused = [name for name, parameter in model.named_parameters() if not parameter.count_nonzero()]
    without = [
        name for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.count_nonzero()
    ]  # fmt: skip
    assert unused == without == []


def test_a_prompt_read_at_once_ends_where_single_steps_end() -> None:
    implementation = ModelStep(
        perturbed_model(ModelConfig(vocab_size=16, num_layers=2, dim=64), seed=0).double()
    )
    ids = torch.arange(6).view(2, 3)
    at_once, _ = implementation.prefill(ids, implementation.start(2))
    state = implementation.start(2)
    for column in ids.unbind(1):
        stepped, state = implementation.step(column, state)
    torch.testing.assert_close(at_once, stepped)


@pytest.mark.skipif(load_library().functions is None, reason="no native library")
def test_reading_alone_reads_what_the_matrices_hold() -> None:
    # One layer: r, k, v, output of 64 x 64; key and value of 256 x 64; a head of 16 x 64; and the
    # low-rank ones of decay, rate and gate.
    config = ModelConfig(vocab_size=16, num_layers=1, dim=64)
    inner = config.decay_low_rank_dim + config.a_low_rank_dim + config.gate_low_rank_dim
    matrices = 4 * 64 * 64 + 2 * 256 * 64 + 16 * 64 + 2 * 64 * inner
    ours = {("ours", "float32"): OurDecoder(perturbed_model(config, seed=0), "float32")}
    [read] = readings(ours, tokens=3).values()
    assert read.args[0].nbytes == 4 * matrices
    assert read.args[1] == 3


def test_quick_mode_writes_errors_within_the_limits(tmp_path: Path) -> None:
    music = tmp_path / "music"
    music.mkdir()
    shutil.copy(REPOSITORY / "examples" / "prompt.mid", music)
    report = quick_report("decode", tmp_path, "--music", str(music))
    rows = report["rows"]
    assert {row["task"] for row in rows} == {
        "one sequence", "16 sequences", "prompt", "first token",
    }  # fmt: skip
    native = load_library().functions is not None
    assert {row["precision"] for row in rows if row["implementation"] == READING} == (
        set(LIMITS) if native else set()
    )
    for row in rows:
        assert row["tokens_per_second"] > 0
        if row["implementation"] != READING:
            assert row["logit_error"] < LIMITS[row["precision"]], row
    for row in report["memory"]:
        assert row["resident_bytes_late"] < 1.2 * row["resident_bytes_early"]
    actual = report["music"]
    assert actual["source"] == "music"
    assert actual["pieces"] == 1
    for row in actual["rows"]:
        assert 0 < row["nats_per_token"] < math.log(2048)
        assert abs(row["more_than_float32"]) < 0.1
