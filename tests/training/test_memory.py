"""The estimate of memory: its parts, what it advises, and what a small step really takes."""

import json
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from benchmarks.measuring import RESULTS, held_bytes
from benchmarks.step_memory import estimate_of, random_batch
from rwkv_music.data.augmentation import RandomAugmentation
from rwkv_music.data.loading.window_loader import WindowLoader
from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.ops.backends import has_amx
from rwkv_music.ops.wkv7 import available_backends
from rwkv_music.settings import settings_text
from rwkv_music.training import PRESETS, Trainer, TrainingConfig
from rwkv_music.training.data_module import DataModule
from rwkv_music.training.memory import (
    MemoryEstimate,
    StepWorkload,
    advice_when_full,
    count_parameters,
    estimate_memory,
    free_memory,
    remedies,
    require_memory,
)
from rwkv_music.training.setup import check_memory
from tests.training.conftest import NewConfig

GIB = 2**30
SIZES = ModelConfig(vocab_size=2048, num_layers=12, dim=768)
BATCH = StepWorkload(positions=4096, scored=2048, rows=2)


def config(**settings: Any) -> TrainingConfig:
    return TrainingConfig(corpus="", out="", **settings)


def estimate(**settings: Any) -> MemoryEstimate:
    return estimate_memory(SIZES, config(**settings), BATCH)


def test_weights_gradients_and_moments_take_four_bytes_a_number() -> None:
    # 2 V C + 4 C + L (19 C + 12 C^2 + 2 C (D_w + D_a + D_v + D_g)), and no v0, v1, v2 in layer 0.
    width, inner = 768, 64 + 64 + 32 + 128
    layer = 19 * width + 12 * width**2 + 2 * width * inner
    expected = 2 * 2048 * width + 4 * width + 12 * layer - width - 2 * width * 32
    assert count_parameters(SIZES) == expected
    found = estimate()
    assert (found.weights, found.gradients, found.optimizer) == (
        4 * expected,
        4 * expected,
        8 * expected,
    )


def test_each_saving_saves_and_batches_cost_in_proportion() -> None:
    plain = estimate()
    for leaner in (
        {"precision": "bf16"},
        {"activation_checkpointing": True},
        {"optimizer": "adafactor"},
    ):
        assert estimate(**leaner).total < plain.total
    twice = estimate_memory(SIZES, config(), StepWorkload(positions=8192, scored=4096, rows=4))
    assert twice.activations == pytest.approx(2 * plain.activations)
    # While batches are added up, their gradients lie beside the next batch's activations.
    added = estimate(gradient_accumulation_steps=2)
    assert added.activations - plain.activations == plain.gradients


@pytest.mark.skipif(
    "native" not in available_backends(),
    reason="the native CPU library is not built: python rwkv_music/native/build.py, with g++",
)
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_layers_keep_for_the_backward_is_what_was_told(
    precision: str, checkpointing: bool
) -> None:
    # The forward alone: what a backward holds for moments is known from whole processes only.
    settings = config(precision=precision, activation_checkpointing=checkpointing)
    held, told = {}, {}
    for layers in (2, 4):
        sizes = ModelConfig(vocab_size=64, num_layers=layers, dim=128, dropout=0.1)
        model = RWKV7(sizes)
        initialize(model, seed=0)
        trainer = Trainer(model.train(), iter(()), settings)
        batch = random_batch(64, 1024, 2, seed=0)
        trainer.loss(batch, divide_by=1)  # what the first call leaves behind is not its own
        held[layers] = held_bytes(lambda t=trainer, b=batch: t.loss(b, divide_by=1))
        guess = estimate_memory(sizes, settings, StepWorkload(1024, 512, 2, has_amx=has_amx()))
        told[layers] = guess.activations + guess.weights - 4 * count_parameters(sizes)
    if held[2] is None:
        pytest.skip("this system's C library does not tell how much memory is in use")
    assert told[4] - told[2] == pytest.approx(held[4] - held[2], rel=0.15)


def test_a_sharded_model_takes_a_part_of_its_parameters_memory_and_all_of_its_activations() -> None:
    whole = estimate_memory(SIZES, config(), BATCH)
    part = estimate_memory(SIZES, config(), replace(BATCH, num_shards=4))
    assert part.gradients == whole.gradients // 4
    assert (part.weights, part.optimizer) == (whole.weights // 4, whole.optimizer // 4)
    assert (part.activations, part.head) == (whole.activations, whole.head)


def test_a_run_that_does_not_fit_is_told_what_would() -> None:
    needed = estimate().total
    assert require_memory(SIZES, config(), BATCH, free=needed).total == needed
    for settings in (
        {"precision": "bfloat16"},
        {"activation_checkpointing": True},
        {"precision": "bfloat16", "activation_checkpointing": True},
    ):
        free = estimate(**settings).total
        told = (
            f"the run needs {needed / GIB:.1f} GiB, {free / GIB:.1f} GiB are free: "
            f"try {settings_text(**settings)}, "
        )
        with pytest.raises(InputError) as refused:
            require_memory(SIZES, config(), BATCH, free=free)
        assert str(refused.value).removeprefix(told) in {f"or preset {each}" for each in PRESETS}
    with pytest.raises(InputError, match="use a machine with more memory"):
        require_memory(SIZES, config(), BATCH, free=1000)


def test_what_is_set_already_is_no_remedy_and_the_last_ones_take_smaller_batches() -> None:
    given = config(precision="bf16", batch_size=6, gradient_accumulation_steps=2)
    smaller = [
        {"batch_size": size, "gradient_accumulation_steps": steps}
        for size, steps in ((3, 4), (2, 6), (1, 12))
    ]
    checkpointing = {"activation_checkpointing": True}
    adafactor = {**checkpointing, "optimizer": "adafactor"}
    assert list(remedies(given)) == [
        checkpointing, *smaller, adafactor, *({**adafactor, **fewer} for fewer in smaller)
    ]  # fmt: skip
    # Sharding and Adafactor exclude each other.
    bfloat16 = {"precision": "bfloat16"}
    sharded = list(remedies(config(sharding="fsdp", batch_size=1)))
    assert sharded == [bfloat16, checkpointing, bfloat16 | checkpointing]


def test_every_remedy_is_a_setting_with_which_the_run_needs_less() -> None:
    given = config(batch_size=4)
    for changes in remedies(given):
        changed = given.replace(**changes)
        share = changed.data.batch_size / given.data.batch_size
        needed = estimate_memory(SIZES, changed, BATCH.scaled(share)).total
        assert needed < estimate().total, changes


def test_a_full_memory_is_answered_with_what_a_new_run_could_do() -> None:
    assert advice_when_full(config(batch_size=1)) == (
        "out of memory: end other programs, or start a new run with "
        "`precision='bfloat16', activation_checkpointing=True` or with a smaller preset"
    )


def test_the_largest_batch_of_a_run_is_foreseen_from_a_few(new_config: NewConfig) -> None:
    settings = new_config(steps=400, batch_size=4)
    data = DataModule.from_config(settings)
    stream = WindowLoader(
        data.train, batch_size=4, seed=settings.run.seed,
        augment=RandomAugmentation(vocabulary=data.tokenizer.vocabulary),
    )  # fmt: skip
    largest = max(next(stream).tokens.numel() for _ in range(settings.run.steps))
    with patch("rwkv_music.training.setup.require_memory") as asked:
        check_memory(SIZES, settings, data.train, device="cpu")
    load = asked.call_args.args[2]
    assert largest <= load.positions <= 1.3 * largest


def test_the_estimate_is_within_15_percent_of_every_measured_peak() -> None:
    report = json.loads((RESULTS / "step_memory.json").read_text(encoding="utf-8"))
    assert {row["preset"] for row in report["rows"]} == {"5m", "12m", "25m", "43m", "94m"}
    for row in report["rows"]:
        told = estimate_of(row["preset"], row["form"], report["settings"]).total
        assert told == pytest.approx(row["peak_bytes"], rel=0.15), (row["preset"], row["form"])


def test_this_machine_has_some_memory() -> None:
    assert free_memory("cpu") > 2**20
