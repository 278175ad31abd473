"""Teaching a trained model the manner of a few files, in minutes on a laptop.

Three ways, from the smallest to the largest:

    state   the initial WKV state alone (a `Style`): a small file; the model itself stays as it is
    lora    low-rank additions to the large matrices, through the `peft` library, merged at the end
    full    every parameter

All three read the same windows and score the same completions as training does.

Source of state tuning: Peng et al., RWKV-LM and RWKV-PEFT ("time_state").
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rwkv_music.data import Batch, Piece, Windows
from rwkv_music.data.loading.window_loader import WindowLoader
from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelState, MusicModel, Style, fingerprint
from rwkv_music.ops.backends import has_fast_bfloat16
from rwkv_music.ops.cross_entropy import completion_loss
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.training.finetuning.lora import merged, with_lora
from rwkv_music.training.finetuning.tuning_config import TuningConfig
from rwkv_music.training.optimizer import parameter_groups
from rwkv_music.training.schedule import learning_rate_at


@dataclass(frozen=True)
class TuningReport:
    """What one step of a tuning did."""

    step: int
    steps: int
    loss: float
    """Nats per completion token of the step's batch, before the step."""


OnStep = Callable[[TuningReport], None]


def pieces_from_files(paths: Sequence[str | Path], tokenizer: Tokenizer) -> list[Piece]:
    """The files as pieces, in the order given; a file that cannot be read is refused by name.

    Raises:
        InputError: If there are no files, or one cannot be read.
    """
    from rwkv_music.score import load_score

    if not paths:
        raise InputError("there is nothing to learn from: give at least one file, got 0")
    return [
        Piece(name=str(path), ids=tokenizer.encode(load_score(path)), group=str(path))
        for path in paths
    ]


def tuning_windows(model: MusicModel, paths: Sequence[str | Path], config: TuningConfig) -> Windows:
    """The windows of some files, as the model's tokenizer reads them.

    Raises:
        InputError: If the model does not name its tokenizer, or names one of another vocabulary, or
            a file cannot be used.
    """
    tokenizer = model.tokenizer
    return Windows(
        pieces_from_files(paths, tokenizer),
        tokenizer,
        prompt_bars=config.prompt_bars,
        completion_bars=config.completion_bars,
    )


def tune_state(
    model: MusicModel, windows: Windows, config: TuningConfig, *, on_step: OnStep | None = None
) -> Style:
    """Train the initial WKV state alone; the model is not changed.

    Args:
        model: With its tokenizer's settings, on its device.
        windows: Of the music to learn from, as `tuning_windows` cuts them.
        config: Its `method` must be "state".
        on_step: Told of each step.

    Raises:
        InputError: If the loss stops being a number.
    """
    sizes = model.config
    shape = (sizes.num_layers, sizes.num_heads, sizes.head_size, sizes.head_size)
    wkv = nn.Parameter(torch.zeros(shape, device=model.device))
    frozen = copy.deepcopy(model.network).requires_grad_(requires_grad=False)
    groups = [{"params": [wkv], "weight_decay": 0.0, "lr_scale": 1.0}]
    _fit(frozen, groups, windows, config, on_step, initial=wkv)
    notes = {"files": [piece.name for piece in windows.pieces], "config": asdict(config)}
    return Style(wkv.detach().cpu(), fingerprint(model), notes)


def tune_weights(
    model: MusicModel, windows: Windows, config: TuningConfig, *, on_step: OnStep | None = None
) -> MusicModel:
    """Train a copy of the model: low-rank additions, merged at the end, or every parameter.

    Args:
        model: With its tokenizer's settings, on its device; it is not changed.
        windows: Of the music to learn from, as `tuning_windows` cuts them.
        config: Its `method` must be "lora" or "full".
        on_step: Told of each step.

    Raises:
        InputError: If the loss stops being a number.
        MissingExtraError: If "lora" is asked for and `peft` is not installed.
    """
    tuned = copy.deepcopy(model.network)
    if config.method == "lora":
        torch.manual_seed(config.seed)
        adapted = with_lora(tuned, rank=config.rank)
        trained = [each for each in adapted.parameters() if each.requires_grad]
        groups = [{"params": trained, "weight_decay": 0.0, "lr_scale": 1.0}]
        _fit(adapted.model, groups, windows, config, on_step)
        tuned = merged(adapted)
    else:
        groups = parameter_groups(tuned, weight_decay=0.0)
        _fit(tuned, groups, windows, config, on_step)
    metadata = {**model.metadata, "tuned": asdict(config)}
    return MusicModel(tuned.eval(), model.tokenizer_settings, metadata)


def _fit(
    model: RWKV7,
    groups: list[dict[str, Any]],
    windows: Windows,
    config: TuningConfig,
    on_step: OnStep | None,
    *,
    initial: Float[Tensor, "L H N N"] | None = None,
) -> None:
    """Take the steps; `groups` hold what is trained."""
    optimizer = torch.optim.AdamW(groups, lr=config.peak_learning_rate, betas=(0.9, 0.99))
    # A row holds one window: packed ones would begin with zeros, not with what is trained here.
    batches = WindowLoader(windows, batch_size=config.batch_size, seed=config.seed, packing=False)
    model.eval()
    for step in range(1, config.steps + 1):
        _set_learning_rate(optimizer, step, config)
        loss = _loss(model, next(batches), initial, config)
        if not math.isfinite(loss.item()):
            raise InputError(
                f"the loss is {loss.item()} at step {step} with learning rate "
                f"{config.peak_learning_rate}: lower it, e.g. to {config.peak_learning_rate / 4:g}"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        trained = [each for group in optimizer.param_groups for each in group["params"]]
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if on_step is not None:
            on_step(TuningReport(step=step, steps=config.steps, loss=loss.item()))


def _set_learning_rate(optimizer: torch.optim.Optimizer, step: int, config: TuningConfig) -> None:
    rate = learning_rate_at(
        step,
        peak=config.peak_learning_rate,
        warmup_steps=min(5, config.steps - 1),
        steps=config.steps,
    )
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


def _loss(
    model: RWKV7, batch: Batch, initial: Tensor | None, config: TuningConfig
) -> Float[Tensor, ""]:
    device = model.emb.weight.device
    batch = batch.to(device)
    start = None
    if initial is not None:
        dtype = model.emb.weight.dtype
        start = ModelState.beginning(initial, model.config, len(batch.tokens), dtype=dtype)
    narrow = config.precision == "bfloat16" or (
        config.precision == "auto" and has_fast_bfloat16(device)
    )
    with torch.autocast(device.type, torch.bfloat16, enabled=narrow):
        hidden, _ = model.hidden(batch.tokens, start)
        return completion_loss(hidden, model.head.weight, batch.targets, batch.completion_mask)
