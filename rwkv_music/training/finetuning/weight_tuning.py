"""Tuning of weights: low-rank additions that are merged at the end, or every parameter."""

import copy
from dataclasses import asdict

import torch

from rwkv_music.data import Windows
from rwkv_music.model import RWKV7, MusicModel
from rwkv_music.training.finetuning.lora import merged, with_lora
from rwkv_music.training.finetuning.tuning import OnStep, train_parameters
from rwkv_music.training.finetuning.tuning_config import TuningConfig
from rwkv_music.training.optimizer import parameter_groups


def tune_weights(
    model: MusicModel, windows: Windows, config: TuningConfig, *, on_step: OnStep | None = None
) -> MusicModel:
    """Train a copy of the model: low-rank additions, or every parameter.

    Args:
        model: The model, on its device; it is not changed.
        windows: The music to learn from, as `tuning_windows` cuts it.
        config: Its `method` must be "lora" or "full".
        on_step: Called after each step.

    Raises:
        InputError: If the loss or the gradient is not finite.
        MissingExtraError: If `method` is "lora" and `peft` is not installed.
    """
    tune = _tune_lora if config.method == "lora" else _tune_all
    tuned = tune(copy.deepcopy(model.network), windows, config, on_step)
    metadata = {**model.metadata, "tuned": asdict(config)}
    return MusicModel(tuned.eval(), model.tokenizer_settings, metadata)


def _tune_lora(
    model: RWKV7, windows: Windows, config: TuningConfig, on_step: OnStep | None
) -> RWKV7:
    torch.manual_seed(config.seed)
    adapted = with_lora(model, rank=config.rank)
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    groups = [{"params": trained, "weight_decay": 0.0, "lr_scale": 1.0}]
    train_parameters(groups, adapted.model, windows, config, on_step=on_step)
    return merged(adapted)


def _tune_all(
    model: RWKV7, windows: Windows, config: TuningConfig, on_step: OnStep | None
) -> RWKV7:
    groups = parameter_groups(model, weight_decay=0.0)
    train_parameters(groups, model, windows, config, on_step=on_step)
    return model
