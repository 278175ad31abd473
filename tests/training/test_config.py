"""Settings are checked when they are made."""

import copy
import json
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch

from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelConfig
from rwkv_music.old_names import SETTINGS, renamed
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.training import PRESETS, TrainingConfig
from rwkv_music.training.config import training_settings


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_read_back_from_config_json(name: str) -> None:
    config = TrainingConfig.preset(name, corpus="bach", out="runs/x", seed=3)
    assert TrainingConfig.from_dict(config.to_dict()) == config


def test_a_setting_of_none_keeps_the_value_of_the_preset() -> None:
    config = TrainingConfig.preset("tiny", corpus="bach", out="x", steps=None, dim=128)
    assert (config.run.steps, config.model.dim) == (PRESETS["tiny"]["steps"], 128)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "`steps` must be at least 1, got 0"),
        ({"dim": 100}, "`dim` must be at least 1 and a multiple of 64, got 100"),
        ({"steps": 10, "warmup_steps": 10}, r"`warmup_steps` must be in \[0, steps\), got 10"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\), got 1.0"),
        ({"label_smoothing": 1.0}, r"`label_smoothing` must be in \[0, 1\), got 1.0"),
        ({"logit_penalty": -1.0}, "`logit_penalty` must be at least 0, got -1.0"),
        (
            {"gradient_accumulation_steps": 0},
            "`gradient_accumulation_steps` must be at least 1, got 0",
        ),
        ({"decay_fraction": 0.0}, r"`decay_fraction` must be in \(0, 1\], got 0.0"),
        ({"schedule": "steps"}, "`schedule` must be one of .* got 'steps'"),
        ({"valid_fraction": 0.0}, r"`valid_fraction` must be in \(0, 1\), got 0.0"),
        ({"precision": "float8"}, "`precision` must be one of .* got 'float8'"),
        ({"drop_parts": 1.0}, r"`drop_parts` must be in \[0, 1\), got 1.0"),
        ({"drop_parts": 0.1, "augmentation": False}, "parts are only dropped by augmentation"),
        ({"optimizer": "sgd"}, "`optimizer` must be one of .* got 'sgd'"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingConfig(corpus="bach", out="x", **settings)


def test_an_unknown_preset_or_setting_is_refused() -> None:
    with pytest.raises(InputError, match="no preset 'huge': choose one of small, tiny, 1m"):
        TrainingConfig.preset("huge", corpus="bach", out="x")
    with pytest.raises(InputError, match="unknown training setting 'flavour'"):
        TrainingConfig.from_dict({"corpus": "bach", "out": "x", "flavour": 1})


def test_a_misspelt_or_renamed_setting_is_refused() -> None:
    with pytest.raises(InputError, match="no training setting 'flavour': check its spelling"):
        TrainingConfig(corpus="bach", out="x", flavour=1)
    with pytest.raises(InputError, match="'clip': it is called `max_grad_norm` now"):
        TrainingConfig(corpus="bach", out="x", clip=1.0)
    with pytest.raises(InputError, match="`out` is required: Run directory to create"):
        TrainingConfig(corpus="bach")


def test_settings_are_grouped_and_changed_by_name() -> None:
    config = TrainingConfig(corpus="bach", out="x", batch_size=3, steps=100)
    assert (config.data.batch_size, config.run.steps, config.out_path.name) == (3, 100, "x")
    changed = config.replace(steps=200, precision="bf16")
    assert (changed.run.steps, changed.hardware.precision) == (200, "bfloat16")
    assert (changed.data, config.run.steps) == (config.data, 100)
    assert copy.deepcopy(changed) == changed
    with pytest.raises(FrozenInstanceError):
        config.data.batch_size = 4  # type: ignore[misc]


def test_every_setting_of_an_earlier_version_is_read() -> None:
    # All settings of config.json as version 0.1.0 wrote them, none with its default.
    earlier = {
        "corpus": "songs", "out": "runs/a", "init": "bach", "seed": 3, "device": "cpu",
        "precision": "bfloat16", "checkpointing": True, "steps": 600, "num_layers": 3,
        "width": 128, "dropout": 0.2, "label_smoothing": 0.1, "logit_penalty": 1e-4,
        "prompt_bars": 3, "completion_bars": 5, "batch_size": 6, "carry_state": True,
        "context_length": 512, "accumulation": 2, "learning_rate": 1e-3, "schedule": "wsd",
        "decay_share": 0.3, "warmup_steps": 20, "weight_decay": 0.01, "optimizer": "adafactor",
        "clip": 0.5, "valid_share": 0.2, "evaluate_every": 50, "save_every": 7,
        "keep_checkpoints": 3, "early_stop": 4, "augmentation": False, "drop_parts": 0.0,
        "sample_prompts": 1, "sharding": "fsdp", "track": "none",
    }  # fmt: skip
    config = TrainingConfig.from_dict(earlier)
    later = {
        name: declared.default
        for name, declared in training_settings().items()
        if name not in renamed(earlier, SETTINGS)
    }
    assert config.flat() == {**later, **renamed(earlier, SETTINGS)}
    assert set(config.flat()) == set(training_settings())
    assert TrainingConfig.from_dict(config.to_dict()) == config


def test_the_settings_of_config_json_are_in_groups() -> None:
    written = TrainingConfig(corpus="bach", out="x").to_dict()
    assert list(written) == ["data", "layout", "model", "optimizer", "run", "hardware"]
    assert json.loads(json.dumps(written)) == written


def test_bf16_is_short_for_bfloat16() -> None:
    assert TrainingConfig(corpus="bach", out="x", precision="bf16").hardware.precision == "bfloat16"


SIZED = [name for name in PRESETS if name[-1] in "mb"]


@pytest.mark.parametrize("name", SIZED)
def test_a_sized_preset_has_the_parameters_it_is_named_after(name: str) -> None:
    config = TrainingConfig.preset(name, corpus="", out="")
    with torch.device("meta"):
        model = RWKV7(
            ModelConfig(
                vocab_size=Tokenizer().vocab_size,
                num_layers=config.model.num_layers,
                dim=config.model.dim,
            )
        )
    expected = float(name[:-1]) * {"m": 1e6, "b": 1e9}[name[-1]]
    assert sum(weight.numel() for weight in model.parameters()) == pytest.approx(expected, rel=0.1)


def test_sized_presets_run_from_one_million_to_three_billion() -> None:
    assert SIZED[0] == "1m"
    assert SIZED[-1] == "2.6b"
    widths = [PRESETS[name]["dim"] * PRESETS[name]["num_layers"] for name in SIZED]
    assert widths == sorted(widths)


def test_layouts_need_augmentation() -> None:
    with pytest.raises(InputError, match=r"set `merge_parts=0.0` or `augmentation=True`"):
        TrainingConfig(corpus="bach", out="a", augmentation=False, merge_parts=0.5)
