"""The training loop: batches in, `StepMetrics`s out. It never prints, draws or writes."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from rwkv_music.data import Batch
from rwkv_music.devices import keep_freed_memory
from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelState
from rwkv_music.ops.cross_entropy import Objective
from rwkv_music.tokenizer import Vocabulary
from rwkv_music.tokenizer.vocabulary import TokenType
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.distributed.process_group import (
    GATHER,
    GATHER_MODEL,
    STEP,
    ProcessGroup,
    single_process,
)
from rwkv_music.training.distributed.train_state import (
    Snapshot,
    put_back,
    take_snapshot,
    whole_model,
)
from rwkv_music.training.loss import CompletionLoss
from rwkv_music.training.optimizer import allocate_moments, make_optimizer
from rwkv_music.training.schedule import learning_rate_at


@dataclass(frozen=True)
class StepMetrics:
    """What one optimizer step did."""

    step: int
    """Counted from 1."""
    loss_train: float
    """Nats per completion token of this step's batches, before the step."""
    learning_rate: float
    grad_norm: float
    """Norm of the whole gradient before clipping."""
    tokens_per_second: float
    """Real tokens of all processes, without padding, waiting for the batch included."""
    scored_fraction: float
    """Share of positions whose target is scored."""
    padding_share: float
    """Share of positions that are padding."""
    processes: int = 1
    """How many have taken this step together."""
    loss_by_kind: dict[str, float] = field(default_factory=dict)
    """The same nats by kind of token, e.g. "PITCH"; only kinds that were scored."""


@dataclass(frozen=True)
class _Counted:
    """Positions of a step's batches, of all processes together."""

    scored: int
    real: int
    positions: int


class Trainer:
    """Trains a model on the completions in a stream of batches.

    Args:
        model: Already on its device; its parameters are changed in place.
        batches: Endless.
        config: Steps, learning rate, clip, precision and the like are read from it.
        padding_id: What `batches` pads with, to count real tokens.
        vocabulary: To tell the kinds of token apart in the reports; they are left out when None.
        group: The processes that train the model together, each on its share of the batches.

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
        group: ProcessGroup | None = None,
    ) -> None:
        self.model = model
        self.config = config
        self.group = group or single_process()
        model.activation_checkpointing = config.hardware.activation_checkpointing
        self._device = model.emb.weight.device
        if self._device.type == "cpu":
            keep_freed_memory()
        self._wrapped = self.group.wrap_model(CompletionLoss(model, config), model, config)
        # Whoever wraps a model may put parts of its parameters in their place.
        self.optimizer = make_optimizer(
            model,
            learning_rate=config.optimizer.learning_rate,
            weight_decay=config.optimizer.weight_decay,
            kind=config.optimizer.optimizer,
        )
        allocate_moments(self.optimizer)
        self.steps_taken = 0
        """Set it before iterating to go on behind a step that was taken earlier."""
        self.carried: ModelState | None = None
        """The state that the next batch goes on from, where batches continue one another."""
        self._batches = batches
        self._padding_id = padding_id
        kinds = None if vocabulary is None else torch.from_numpy(vocabulary.types.astype("int64"))
        self._kinds = None if kinds is None else kinds.to(self._device)

    def __iter__(self) -> Iterator[StepMetrics]:
        """Take the steps one by one; whoever iterates may stop at any of them."""
        while self.steps_taken < self.config.run.steps:
            self.group.send_command(STEP)
            yield self._advance()

    def obey(self, word: str) -> None:
        """Take part in what the process that leads has said is next."""
        if word == STEP:
            self._advance()
        elif word == GATHER:
            self._take_snapshot()
        elif word == GATHER_MODEL:
            whole_model(self.model, self.group)

    def snapshot(self) -> Snapshot:
        """All that is needed to go on from here."""
        self.group.send_command(GATHER)
        return self._take_snapshot()

    def whole_model(self) -> RWKV7:
        """The model as it is now, to measure or to complete with."""
        if self.group.is_sharded:
            self.group.send_command(GATHER_MODEL)
        return whole_model(self.model, self.group)

    def restore(self, tensors: Mapping[str, Tensor], *, step: int) -> None:
        """Go on behind a step, with what a snapshot held besides the model."""
        self.carried = put_back(self.model, self.optimizer, tensors, self.group)
        self.steps_taken = step

    def _take_snapshot(self) -> Snapshot:
        return take_snapshot(self.model, self.optimizer, self.carried, self.group)

    def _advance(self) -> StepMetrics:
        began = time.perf_counter()
        batches = [
            next(self._batches) for _ in range(self.config.optimizer.gradient_accumulation_steps)
        ]
        report = self.step(self.steps_taken + 1, batches, began=began)
        self.steps_taken = report.step
        return report

    def step(
        self, step: int, batches: Sequence[Batch], *, began: float | None = None
    ) -> StepMetrics:
        """One optimizer step on the gradient of all batches together.

        Args:
            step: Counted from 1; sets the learning rate.
            batches: Read one after the other; each scored token weighs the same in whichever it is,
                in whichever process.
            began: When the work on this step began, on the clock of time.perf_counter; now if None.

        Raises:
            FloatingPointError: If the loss or the gradient is not finite; no parameter is changed.
            InputError: If no position of the batches is scored.
        """
        began = time.perf_counter() if began is None else began
        learning_rate = self._set_learning_rate(step)
        self.group.seed_step(self.config.run.seed, step)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        counted = self._count(batches)
        nats, by_kind = self._backward(batches, counted.scored)
        loss_train = nats / counted.scored
        self._require_finite("loss", loss_train, step)
        norm = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), self.config.optimizer.max_grad_norm
        )
        grad_norm = float(self.group.full_tensor(norm))
        self._require_finite("gradient's norm", grad_norm, step)
        self.optimizer.step()
        return StepMetrics(
            step=step,
            loss_train=loss_train,
            learning_rate=learning_rate,
            grad_norm=grad_norm,
            tokens_per_second=counted.real / (time.perf_counter() - began),
            scored_fraction=counted.scored / counted.positions,
            padding_share=1 - counted.real / counted.positions,
            processes=self.group.world_size,
            loss_by_kind=by_kind,
        )

    def _count(self, batches: Sequence[Batch]) -> _Counted:
        mine = [
            sum(batch.num_scored for batch in batches),
            sum(int((batch.tokens != self._padding_id).sum()) for batch in batches),
            sum(batch.tokens.numel() for batch in batches),
        ]
        counted = _Counted(*self.group.all_reduce(torch.tensor(mine)).tolist())
        if not counted.scored:
            raise InputError("none of a step's targets is scored: give completions to learn from")
        return counted

    def _backward(self, batches: Sequence[Batch], scored: int) -> tuple[float, dict[str, float]]:
        """Add up the gradient of the mean over all scored tokens, batch by batch.

        Returns:
            The sum of nats, and their mean by kind of token, of all processes.
        """
        # Gradients come out as the mean over processes, and their sum is wanted.
        divide_by = scored / self.group.world_size if self.group.world_size > 1 else scored
        table = torch.zeros(2, len(TokenType), dtype=torch.float64)
        nats_sum = torch.zeros(1, dtype=torch.float64)
        for number, batch in enumerate(batches, start=1):
            here = batch.to(self._device)
            with self.group.no_sync(self._wrapped, is_last=number == len(batches)):
                objective, nats = self.objective(here, divide_by=divide_by)
                objective.backward()
            nats_sum += nats.double().sum().cpu()
            if self._kinds is not None:
                table += _by_kind(nats, self._kinds[here.targets[here.completion_mask]]).cpu()
        total, *both = self.group.all_reduce(torch.cat([nats_sum, table.flatten()])).tolist()
        sums, counts = both[: len(TokenType)], both[len(TokenType) :]
        by_kind = {kind.name: sums[kind] / counts[kind] for kind in TokenType if counts[kind]}
        return total, by_kind

    def objective(self, batch: Batch, *, divide_by: float) -> Objective:
        """What to descend, of a batch on the model's device, and the nats of its scored tokens."""
        before = self.carried if batch.continues else None
        objective, after = self._wrapped(batch, before, divide_by)
        self.carried = after.detach() if batch.continues else None
        return cast("Objective", objective)

    def _require_finite(self, name: str, value: float, step: int) -> None:
        if value - value != 0:
            raise FloatingPointError(
                f"the {name} is {value} at step {step}; lower --learning-rate (now "
                f"{self.config.optimizer.learning_rate})"
            )

    def _set_learning_rate(self, step: int) -> float:
        rate = learning_rate_at(
            step,
            peak=self.config.optimizer.learning_rate,
            warmup_steps=self.config.optimizer.warmup_steps,
            steps=self.config.run.steps,
            schedule=self.config.optimizer.schedule,
            decay_share=self.config.optimizer.decay_fraction,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        return rate


def _by_kind(nats: Float[Tensor, " scored"], kinds: Any) -> Float[Tensor, "2 kinds"]:  # noqa: ANN401
    """Sum of nats, and number of tokens, of each kind."""
    sums = torch.zeros(2, len(TokenType), dtype=torch.float32, device=nats.device)
    sums[0].index_add_(0, kinds, nats.float())
    sums[1].index_add_(0, kinds, torch.ones_like(nats, dtype=torch.float32))
    return sums
