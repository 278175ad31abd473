"""The training loop: batches in, `StepReport`s out. It never prints, draws or writes."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from rwkv_music.data import Batch
from rwkv_music.model import RWKV7
from rwkv_music.ops.cross_entropy import completion_loss
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.optimizer import make_optimizer
from rwkv_music.training.schedule import learning_rate_at


@dataclass(frozen=True)
class StepReport:
    """What one optimizer step did."""

    step: int
    """Counted from 1."""
    loss_train: float
    """Nats per completion token of this step's batch, before the step."""
    learning_rate: float
    grad_norm: float
    """Norm of the whole gradient before clipping."""
    tokens_per_second: float
    """Real tokens, prompt and completion, without padding."""
    scored_share: float
    """Share of positions whose target is scored."""
    padding_share: float
    """Share of positions that are padding."""


class Trainer:
    """Trains a model on the completions in a stream of batches.

    Args:
        model: Already on its device; its parameters are changed in place.
        batches: Endless.
        config: Steps, learning rate, clip and precision are read from it.
        padding_id: What `batches` pads with, to count real tokens.

    Example:
        for report in Trainer(model, batches, config): print(report.loss_train)
    """

    def __init__(
        self, model: RWKV7, batches: Iterator[Batch], config: TrainingConfig, *, padding_id: int = 0
    ) -> None:
        self.model = model
        self.config = config
        self.optimizer = make_optimizer(
            model, learning_rate=config.learning_rate, weight_decay=config.weight_decay
        )
        self._batches = batches
        self._padding_id = padding_id
        self._device = model.emb.weight.device

    def __iter__(self) -> Iterator[StepReport]:
        """Take the steps one by one; whoever iterates may stop at any of them."""
        for step in range(1, self.config.steps + 1):
            yield self.step(step, next(self._batches))

    def step(self, step: int, batch: Batch) -> StepReport:
        """One optimizer step on one batch.

        Raises:
            FloatingPointError: If the loss is not a finite number; no parameter is changed then.
        """
        began = time.perf_counter()
        learning_rate = self._set_learning_rate(step)
        self.model.train()
        loss = self.loss(batch.to(self._device))
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {step}; lower --learning-rate (now "
                f"{self.config.learning_rate}); the last checkpoint is kept"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        grad_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        loss_train = loss.item()
        real = int((batch.tokens != self._padding_id).sum())
        return StepReport(
            step=step,
            loss_train=loss_train,
            learning_rate=learning_rate,
            grad_norm=float(grad_norm),
            tokens_per_second=real / (time.perf_counter() - began),
            scored_share=batch.scored_share,
            padding_share=1 - real / batch.tokens.numel(),
        )

    def loss(self, batch: Batch) -> torch.Tensor:
        """Mean nats of the completion tokens of a batch on the model's device."""
        with torch.autocast(
            self._device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"
        ):
            hidden, _ = self.model.hidden(batch.tokens)
            return completion_loss(
                hidden, self.model.head.weight, batch.targets, batch.completion_mask
            )

    def _set_learning_rate(self, step: int) -> float:
        rate = learning_rate_at(
            step,
            peak=self.config.learning_rate,
            warmup_steps=self.config.warmup_steps,
            steps=self.config.steps,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        return rate
