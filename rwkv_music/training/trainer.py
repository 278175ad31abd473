"""The training loop: batches in, `StepReport`s out. It never prints, draws or writes."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rwkv_music.data import Batch
from rwkv_music.devices import keep_freed_memory
from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelState
from rwkv_music.ops.cross_entropy import Objective, completion_objective
from rwkv_music.tokenizer import Vocabulary
from rwkv_music.tokenizer.vocabulary import Kind
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.optimizer import make_optimizer
from rwkv_music.training.schedule import learning_rate_at


@dataclass(frozen=True)
class StepReport:
    """What one optimizer step did."""

    step: int
    """Counted from 1."""
    loss_train: float
    """Nats per completion token of this step's batches, before the step."""
    learning_rate: float
    grad_norm: float
    """Norm of the whole gradient before clipping."""
    tokens_per_second: float
    """Real tokens, prompt and completion, without padding, waiting for the batch included."""
    scored_share: float
    """Share of positions whose target is scored."""
    padding_share: float
    """Share of positions that are padding."""
    loss_by_kind: dict[str, float] = field(default_factory=dict)
    """The same nats by kind of token, e.g. "PITCH"; only kinds that were scored."""


@dataclass(frozen=True)
class _Scored:
    """Sums over the scored positions of a step."""

    nats: float
    tokens: int
    by_kind: dict[str, float]


class Trainer:
    """Trains a model on the completions in a stream of batches.

    Args:
        model: Already on its device; its parameters are changed in place.
        batches: Endless.
        config: Steps, learning rate, clip, precision and the like are read from it.
        padding_id: What `batches` pads with, to count real tokens.
        vocabulary: To tell the kinds of token apart in the reports; they are left out when None.

    Example:
        for report in Trainer(model, batches, config): print(report.loss_train)
    """

    def __init__(
        self,
        model: RWKV7,
        batches: Iterator[Batch],
        config: TrainingConfig,
        *,
        padding_id: int = 0,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        self.model = model
        self.config = config
        self.optimizer = make_optimizer(
            model,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            kind=config.optimizer,
        )
        model.checkpointing = config.checkpointing
        self.steps_taken = 0
        """Set it before iterating to go on behind a step that was taken earlier."""
        self.carried: ModelState | None = None
        """The state that the next batch goes on from, where batches continue one another."""
        self._batches = batches
        self._padding_id = padding_id
        self._device = model.emb.weight.device
        if self._device.type == "cpu":
            keep_freed_memory()
        kinds = None if vocabulary is None else torch.from_numpy(vocabulary.kinds.astype("int64"))
        self._kinds = None if kinds is None else kinds.to(self._device)

    def __iter__(self) -> Iterator[StepReport]:
        """Take the steps one by one; whoever iterates may stop at any of them."""
        while self.steps_taken < self.config.steps:
            began = time.perf_counter()
            batches = [next(self._batches) for _ in range(self.config.accumulation)]
            report = self.step(self.steps_taken + 1, batches, began=began)
            self.steps_taken = report.step
            yield report

    def step(
        self, step: int, batches: Sequence[Batch], *, began: float | None = None
    ) -> StepReport:
        """One optimizer step on the gradient of all batches together.

        Args:
            step: Counted from 1; sets the learning rate.
            batches: Read one after the other; each scored token weighs the same in whichever it is.
            began: When the work on this step began, on the clock of time.perf_counter; now if None.

        Raises:
            FloatingPointError: If the loss or the gradient is not finite; no parameter is changed.
            InputError: If no position of the batches is scored.
        """
        began = time.perf_counter() if began is None else began
        learning_rate = self._set_learning_rate(step)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        scored = self._backward(batches)
        loss_train = scored.nats / scored.tokens
        self._require_finite("loss", loss_train, step)
        grad_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self._require_finite("gradient's norm", float(grad_norm), step)
        self.optimizer.step()
        real = sum(int((batch.tokens != self._padding_id).sum()) for batch in batches)
        positions = sum(batch.tokens.numel() for batch in batches)
        return StepReport(
            step=step,
            loss_train=loss_train,
            learning_rate=learning_rate,
            grad_norm=float(grad_norm),
            tokens_per_second=real / (time.perf_counter() - began),
            scored_share=scored.tokens / positions,
            padding_share=1 - real / positions,
            loss_by_kind=scored.by_kind,
        )

    def _backward(self, batches: Sequence[Batch]) -> _Scored:
        """Add up the gradient of the mean over all scored tokens, batch by batch."""
        tokens = sum(batch.num_scored for batch in batches)
        if not tokens:
            raise InputError("none of a step's targets is scored: give completions to learn from")
        table = torch.zeros(2, len(Kind), dtype=torch.float64)
        nats_sum = torch.zeros((), dtype=torch.float64)
        for batch in batches:
            here = batch.to(self._device)
            objective, nats = self.objective(here, divide_by=tokens)
            objective.backward()
            nats_sum += nats.double().sum().cpu()
            if self._kinds is not None:
                table += _by_kind(nats, self._kinds[here.targets[here.completion_mask]]).cpu()
        by_kind = {
            kind.name: float(table[0, kind] / table[1, kind]) for kind in Kind if table[1, kind]
        }
        return _Scored(nats=float(nats_sum), tokens=tokens, by_kind=by_kind)

    def objective(self, batch: Batch, *, divide_by: int) -> Objective:
        """What to descend, of a batch on the model's device, and the nats of its scored tokens."""
        with torch.autocast(
            self._device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"
        ):
            before = self.carried if batch.continues else None
            hidden, after = self.model.hidden(batch.tokens, before, resets=batch.resets)
            self.carried = after.detach() if batch.continues else None
            return completion_objective(
                hidden,
                self.model.head.weight,
                batch.targets,
                batch.completion_mask,
                label_smoothing=self.config.label_smoothing,
                logit_penalty=self.config.logit_penalty,
                divide_by=divide_by,
            )

    def _require_finite(self, name: str, value: float, step: int) -> None:
        if value - value != 0:
            raise FloatingPointError(
                f"the {name} is {value} at step {step}; lower --learning-rate (now "
                f"{self.config.learning_rate})"
            )

    def _set_learning_rate(self, step: int) -> float:
        rate = learning_rate_at(
            step,
            peak=self.config.learning_rate,
            warmup_steps=self.config.warmup_steps,
            steps=self.config.steps,
            schedule=self.config.schedule,
            decay_share=self.config.decay_share,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        return rate


def _by_kind(nats: Float[Tensor, " scored"], kinds: Any) -> Float[Tensor, "2 kinds"]:  # noqa: ANN401
    """Sum of nats, and number of tokens, of each kind."""
    sums = torch.zeros(2, len(Kind), dtype=torch.float32, device=nats.device)
    sums[0].index_add_(0, kinds, nats.float())
    sums[1].index_add_(0, kinds, torch.ones_like(nats, dtype=torch.float32))
    return sums
