"""Fine-tuning: the data and the training loop that all methods share.

    state   train the initial WKV state (a `Style`): a small file; the model does not change
    lora    train low-rank additions to the large matrices (with `peft`), merged at the end
    full    train every parameter

All methods use the windows, the loss and the loop of training.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from rwkv_music.data import Piece, Windows
from rwkv_music.data.loading.window_loader import WindowLoader
from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, MusicModel
from rwkv_music.ops.backends import has_fast_bfloat16
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.finetuning.tuning_config import TuningConfig
from rwkv_music.training.loop import FitHooks, fit
from rwkv_music.training.optimizer import ParameterGroup
from rwkv_music.training.trainer import StepMetrics, Trainer

OnStep = Callable[[StepMetrics], None]

_MAX_WARMUP_STEPS = 5


def pieces_from_files(
    paths: Sequence[str | Path], tokenizer: Tokenizer, *, unfold_repeats: bool = False
) -> list[Piece]:
    """Load files as pieces, in the given order.

    Args:
        paths: The files.
        tokenizer: Encodes them.
        unfold_repeats: As for `load_score`.

    Raises:
        InputError: If there are no files, or one cannot be read.
    """
    from rwkv_music.score import load_score

    if not paths:
        raise InputError("there is nothing to learn from: give at least one file, got 0")
    return [
        Piece(
            name=str(path),
            ids=tokenizer.encode(load_score(path, unfold_repeats=unfold_repeats)),
            group=str(path),
        )
        for path in paths
    ]


def tuning_windows(model: MusicModel, paths: Sequence[str | Path], config: TuningConfig) -> Windows:
    """Cut files into windows with the model's tokenizer.

    Raises:
        InputError: If the model's tokenizer is unknown or has another vocabulary, or a file cannot
            be used.
    """
    tokenizer = model.tokenizer
    return Windows(
        pieces_from_files(paths, tokenizer, unfold_repeats=config.unfold_repeats),
        tokenizer,
        prompt_bars=config.prompt_bars,
        completion_bars=config.completion_bars,
    )


def train_parameters(
    groups: list[ParameterGroup],
    model: RWKV7,
    windows: Windows,
    config: TuningConfig,
    *,
    on_step: OnStep | None,
    initial_wkv: Float[Tensor, "L H N N"] | None = None,
) -> None:
    """Train some parameters of a model in place.

    Args:
        groups: The parameters to train.
        model: The model that computes the loss.
        windows: The music to learn from.
        config: The settings.
        on_step: Called after each step.
        initial_wkv: WKV matrices that each sequence starts from; zeros when None.

    Raises:
        InputError: If the loss or the gradient is not finite.
    """
    optimizer = torch.optim.AdamW(groups, lr=config.peak_learning_rate, betas=(0.9, 0.99))
    trainer = Trainer(
        model,
        # One window per row: packed ones would start from zeros, not from `initial_wkv`.
        WindowLoader(windows, batch_size=config.batch_size, seed=config.seed, packing=False),
        training_config(config, model.emb.weight.device),
        optimizer=optimizer,
        initial_wkv=initial_wkv,
        uses_dropout=False,
    )
    try:
        fit(trainer, _StepCallback(on_step))
    except FloatingPointError as error:
        raise InputError(f"{error}, e.g. to {config.peak_learning_rate / 4:g}") from error


def training_config(config: TuningConfig, device: torch.device) -> TrainingConfig:
    """Return the training settings that a tuning uses."""
    precision = config.precision
    if precision == "auto":
        precision = "bfloat16" if has_fast_bfloat16(device) else "float32"
    return TrainingConfig.preset(
        "small",
        corpus="",
        out="",
        seed=config.seed,
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.peak_learning_rate,
        warmup_steps=min(_MAX_WARMUP_STEPS, config.steps - 1),
        prompt_bars=config.prompt_bars,
        completion_bars=config.completion_bars,
        precision=precision,
        dropout=0.0,
    )


class _StepCallback(FitHooks):
    """Calls a function after each step."""

    def __init__(self, on_step: OnStep | None) -> None:
        self._on_step = on_step

    def log_step(self, metrics: StepMetrics) -> None:
        if self._on_step is not None:
            self._on_step(metrics)
