"""The training loop of the benchmarks: AdamW, cosine to zero, and an average of the weights."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rwkv_music.errors import InputError

Batch = TypeVar("Batch")


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """Settings of a training."""

    steps: int
    learning_rate: float
    weight_decay: float
    """Of matrices; tables, vectors and norms have none."""
    average: float = 0.998
    """Decay of the exponential moving average of the weights."""
    warmup_steps: int = 50
    clip: float = 1.0


def fit(
    model: nn.Module,
    batches: Iterator[Batch],
    loss_of: Callable[[nn.Module, Batch], Float[Tensor, ""]],
    settings: FitSettings,
    *,
    progress: Callable[[int, float], None],
) -> nn.Module:
    """Train a model and return a copy with averaged weights.

    Args:
        model: Changed in place.
        batches: Endless.
        loss_of: Returns the mean loss of a batch.
        settings: How to train.
        progress: Called after each step with the number of steps done and the loss.

    Raises:
        InputError: If the loss is not finite.
    """
    optimizer = torch.optim.AdamW(_groups(model, settings), lr=0.0, betas=(0.9, 0.99))
    averaged = copy.deepcopy(model)
    model.train()
    for step in range(settings.steps):
        rate = settings.learning_rate * _share(step, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of(model, next(batches))
        if not math.isfinite(loss.item()):
            raise InputError(
                f"the loss became {loss.item()} at step {step + 1} with learning_rate="
                f"{settings.learning_rate}: set a lower one"
            )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        _average(averaged, model, min(settings.average, (step + 1) / (step + 10)))
        progress(step + 1, loss.item())
    return averaged.eval()


def _share(step: int, settings: FitSettings) -> float:
    """Return the share of the highest learning rate: a linear rise, then a cosine to zero."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


def _groups(model: nn.Module, settings: FitSettings) -> list[dict[str, object]]:
    """Return the parameters with and without weight decay."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    decayed: list[Tensor] = []
    others: list[Tensor] = []
    for parameter in model.parameters():
        is_large = parameter.ndim == 2 and id(parameter) not in tables
        (decayed if is_large else others).append(parameter)
    return [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    for mean, value in zip(averaged.parameters(), model.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)
