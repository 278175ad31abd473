"""State tuning: train the initial WKV state of a model, and nothing else.

Source: Peng et al., RWKV-LM and RWKV-PEFT ("time_state").
"""

import copy
from dataclasses import asdict

import torch
from torch import nn

from rwkv_music.data import Windows
from rwkv_music.model import MusicModel, Style, fingerprint
from rwkv_music.training.finetuning.tuning import OnStep, train_parameters
from rwkv_music.training.finetuning.tuning_config import TuningConfig


def tune_state(
    model: MusicModel, windows: Windows, config: TuningConfig, *, on_step: OnStep | None = None
) -> Style:
    """Train the initial WKV state; the model is not changed.

    Args:
        model: The model, on its device.
        windows: The music to learn from, as `tuning_windows` cuts it.
        config: Its `method` must be "state".
        on_step: Called after each step.

    Raises:
        InputError: If the loss or the gradient is not finite.
    """
    sizes = model.config
    shape = (sizes.num_layers, sizes.num_heads, sizes.head_size, sizes.head_size)
    wkv = nn.Parameter(torch.zeros(shape, device=model.device))
    frozen = copy.deepcopy(model.network).requires_grad_(requires_grad=False)
    train_parameters(
        [{"params": [wkv], "weight_decay": 0.0, "lr_scale": 1.0}],
        frozen,
        windows,
        config,
        on_step=on_step,
        initial_wkv=wkv,
    )
    notes = {"files": [piece.name for piece in windows.pieces], "config": asdict(config)}
    return Style(wkv.detach().cpu(), fingerprint(model), notes)
