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
from rwkv_music.settings import settings_code
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
from tests.skips import NO_NATIVE_LIBRARY
from tests.training.conftest import NewConfig

GIB = 2**30
SIZES = ModelConfig(vocab_size=2048, num_layers=12, dim=768)
BATCH = StepWorkload(positions=4096, scored=2048, rows=2)


def config(**settings: Any) -> TrainingConfig:
    return TrainingConfig(corpus="", out="", **settings)


def estimate(**settings: Any) -> MemoryEstimate:
    return estimate_memory(SIZES, config(**settings), BATCH)


def test_weights_gradients_and_moments_take_four_bytes_each() -> None:
    # 2 V C + 4 C + L (19 C + 12 C^2 + 2 C (D_w + D_a + D_v + D_g)), and no v0, v1, v2 in layer 0.
    width, inner = 768, 64 + 64 + 32 + 128
    layer = 19 * width + 12 * width**2 + 2 * width * inner
    expected = 2 * 2048 * width + 4 * width + 12 * layer - width - 2 * width * 32
    assert count_parameters(SIZES) == expected
    plain = estimate()
    assert (plain.weights, plain.gradients, plain.optimizer) == (
        4 * expected,
        4 * expected,
        8 * expected,
    )


def test_each_saving_saves_and_memory_grows_with_the_batch() -> None:
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
    reason=NO_NATIVE_LIBRARY,
)
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_estimate_of_saved_activations_is_what_layers_save(
    precision: str, checkpointing: bool
) -> None:
    # The forward alone: what a backward holds for moments is known from whole processes only.
    settings = config(precision=precision, activation_checkpointing=checkpointing)
    measured, estimated = {}, {}
    for layers in (2, 4):
        sizes = ModelConfig(vocab_size=64, num_layers=layers, dim=128, dropout=0.1)
        model = RWKV7(sizes)
        initialize(model, seed=0)
        trainer = Trainer(model.train(), iter(()), settings)
        batch = random_batch(64, 1024, 2, seed=0)
        trainer.loss(batch, divide_by=1)  # what the first call keeps is not per batch
        measured[layers] = held_bytes(lambda t=trainer, b=batch: t.loss(b, divide_by=1))
        guess = estimate_memory(sizes, settings, StepWorkload(1024, 512, 2, has_amx=has_amx()))
        estimated[layers] = guess.activations + guess.weights - 4 * count_parameters(sizes)
    if measured[2] is None:
        pytest.skip("this system's C library does not tell how much memory is in use")
    assert estimated[4] - estimated[2] == pytest.approx(measured[4] - measured[2], rel=0.15)


def test_sharding_divides_the_memory_of_parameters_and_not_of_activations() -> None:
    whole = estimate_memory(SIZES, config(), BATCH)
    part = estimate_memory(SIZES, config(), replace(BATCH, num_shards=4))
    assert part.gradients == whole.gradients // 4
    assert (part.weights, part.optimizer) == (whole.weights // 4, whole.optimizer // 4)
    assert (part.activations, part.head) == (whole.activations, whole.head)


def test_a_run_that_does_not_fit_is_refused_with_settings_that_do() -> None:
    needed = estimate().total
    assert require_memory(SIZES, config(), BATCH, free=needed).total == needed
    for settings in (
        {"precision": "bfloat16"},
        {"activation_checkpointing": True},
        {"precision": "bfloat16", "activation_checkpointing": True},
    ):
        free = estimate(**settings).total
        message = (
            f"the run needs {needed / GIB:.1f} GiB, {free / GIB:.1f} GiB are free: "
            f"try {settings_code(**settings)}, "
        )
        with pytest.raises(InputError) as refused:
            require_memory(SIZES, config(), BATCH, free=free)
        assert str(refused.value).removeprefix(message) in {f"or preset {name}" for name in PRESETS}
    with pytest.raises(InputError, match="use a machine with more memory"):
        require_memory(SIZES, config(), BATCH, free=1000)


def test_remedies_leave_out_what_is_set_and_reduce_the_batch_last() -> None:
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


def test_every_remedy_needs_less_memory() -> None:
    given = config(batch_size=4)
    for changes in remedies(given):
        changed = given.replace(**changes)
        share = changed.data.batch_size / given.data.batch_size
        needed = estimate_memory(SIZES, changed, BATCH.scaled(share)).total
        assert needed < estimate().total, changes


def test_running_out_of_memory_is_reported_with_settings_for_a_new_run() -> None:
    assert advice_when_full(config(batch_size=1)) == (
        "out of memory: end other programs, or start a new run with "
        "`precision='bfloat16', activation_checkpointing=True` or with a smaller preset"
    )


def test_the_largest_batch_of_a_run_is_estimated_from_a_few(new_config: NewConfig) -> None:
    settings = new_config(steps=400, batch_size=4)
    data = DataModule.from_config(settings)
    stream = WindowLoader(
        data.train, batch_size=4, seed=settings.run.seed,
        augment=RandomAugmentation(vocabulary=data.tokenizer.vocabulary),
    )  # fmt: skip
    largest = max(next(stream).tokens.numel() for _ in range(settings.run.steps))
    with patch("rwkv_music.training.setup.require_memory") as asked:
        check_memory(SIZES, settings, data, device="cpu")
    load = asked.call_args.args[2]
    assert largest <= load.positions <= 1.3 * largest


def test_the_estimate_is_within_15_percent_of_every_measured_peak() -> None:
    report = json.loads((RESULTS / "step_memory.json").read_text(encoding="utf-8"))
    assert {row["preset"] for row in report["rows"]} == {"5m", "12m", "25m", "43m", "94m"}
    for row in report["rows"]:
        total = estimate_of(row["preset"], row["form"], report["settings"]).total
        assert total == pytest.approx(row["peak_bytes"], rel=0.15), (row["preset"], row["form"])


def test_the_free_memory_of_this_machine_is_known() -> None:
    assert free_memory("cpu") > 2**20
