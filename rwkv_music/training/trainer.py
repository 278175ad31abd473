"""One optimizer step: the trainer that training and tuning share. It never prints or writes."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rwkv_music.data import Batch
from rwkv_music.devices import keep_freed_memory
from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7
from rwkv_music.ops.cross_entropy import HeadLoss
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
from rwkv_music.training.distributed.train_state import TrainState
from rwkv_music.training.loss import CompletionLoss
from rwkv_music.training.optimizer import allocate_moments, make_optimizer
from rwkv_music.training.schedule import LearningRateSchedule


@dataclass(frozen=True)
class StepMetrics:
    """Metrics of one optimizer step."""

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
    """Fraction of the positions whose target is scored."""
    padding_fraction: float
    """Fraction of the positions that are padding."""
    processes: int = 1
    """Number of processes that took this step together."""
    loss_by_type: dict[str, float] = field(default_factory=dict)
    """Nats per token by token type, e.g. "PITCH"; only types that were scored."""


@dataclass(frozen=True)
class TokenCounts:
    """Positions of a step's batches, over all processes."""

    scored: int
    real: int
    positions: int


class Trainer:
    """Train a model on the completions in a stream of batches.

    Args:
        model: On its device; its parameters are changed in place.
        batches: An endless iterator.
        config: Sets steps, learning rate, clipping, precision and the like.
        padding_id: The id that `batches` pads with, to count real tokens.
        vocabulary: Needed to report losses by token type; they are left out when None.
        group: The processes that train the model, each on its shard of the batches.
        optimizer: Trains other parameters, or in another way, than `config.optimizer` says; the
            gradient norm is then that of its parameters.
        initial_wkv: WKV matrices that each sequence starts from; zeros when None.
        uses_dropout: Whether to put the model into training mode.

    Example:
        for metrics in Trainer(model, batches, config): print(metrics.loss_train)
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
        optimizer: torch.optim.Optimizer | None = None,
        initial_wkv: Float[Tensor, "L H N N"] | None = None,
        uses_dropout: bool = True,
    ) -> None:
        self.model = model
        self.config = config
        self.group = group or single_process()
        model.activation_checkpointing = config.hardware.activation_checkpointing
        self._device = model.emb.weight.device
        if self._device.type == "cpu":
            keep_freed_memory()
        loss = CompletionLoss(
            model, config.optimizer, precision=config.hardware.precision, initial_wkv=initial_wkv
        )
        # Sharding replaces parameters: the optimizer is made after it.
        self._loss = self.group.wrap_model(loss, model, config.hardware)
        self._clipped = _parameters_of(optimizer) if optimizer else list(model.parameters())
        self.optimizer = optimizer or make_optimizer(
            model,
            learning_rate=config.optimizer.learning_rate,
            weight_decay=config.optimizer.weight_decay,
            kind=config.optimizer.optimizer,
        )
        allocate_moments(self.optimizer)
        self.state = TrainState(model, self.optimizer, self.group)
        self._schedule = LearningRateSchedule(
            peak=config.optimizer.learning_rate,
            warmup_steps=config.optimizer.warmup_steps,
            num_steps=config.run.steps,
            schedule=config.optimizer.schedule,
            decay_fraction=config.optimizer.decay_fraction,
        )
        self._batches = batches
        self._padding_id = padding_id
        self._uses_dropout = uses_dropout
        self._types: Int[Tensor, " V"] | None = None
        if vocabulary is not None:
            self._types = torch.from_numpy(vocabulary.types.astype("int64")).to(self._device)
        self._step_started: float | None = None

    def __iter__(self) -> Iterator[StepMetrics]:
        """Take the remaining steps one by one."""
        while self.state.step < self.config.run.steps:
            batches = self.next_batches()
            yield self.step(self.state.step + 1, batches)

    def next_batches(self) -> list[Batch]:
        """Start a step on every process and return this process's batches."""
        if self.group.is_main:
            self.group.send_command(STEP)
        self._step_started = time.perf_counter()
        accumulated = self.config.optimizer.gradient_accumulation_steps
        return [next(self._batches) for _ in range(accumulated)]

    def step(self, step: int, batches: Sequence[Batch]) -> StepMetrics:
        """Take one optimizer step on the summed gradient of all batches.

        Args:
            step: Counted from 1; sets the learning rate.
            batches: Read one after the other; every scored token of every process has the same
                weight.

        Raises:
            FloatingPointError: If the loss or the gradient is not finite; no parameter is changed.
            InputError: If no position of the batches is scored.
        """
        started = self._step_started or time.perf_counter()
        learning_rate = self._set_learning_rate(step)
        self.group.seed_step(self.config.run.seed, step)
        self.model.train(self._uses_dropout)
        self.optimizer.zero_grad(set_to_none=True)
        counts = self._count_tokens(batches)
        nats, loss_by_type = self._accumulate_gradients(batches, counts.scored)
        loss_train = nats / counts.scored
        self._require_finite("loss", loss_train, step)
        norm = torch.nn.utils.clip_grad_norm_(self._clipped, self.config.optimizer.max_grad_norm)
        grad_norm = float(self.group.full_tensor(norm))
        self._require_finite("gradient norm", grad_norm, step)
        self.optimizer.step()
        self.state.step, self._step_started = step, None
        return StepMetrics(
            step=step,
            loss_train=loss_train,
            learning_rate=learning_rate,
            grad_norm=grad_norm,
            tokens_per_second=counts.real / (time.perf_counter() - started),
            scored_fraction=counts.scored / counts.positions,
            padding_fraction=1 - counts.real / counts.positions,
            processes=self.group.world_size,
            loss_by_type=loss_by_type,
        )

    def run_command(self, command: str) -> None:
        """Take part in the collective operation that the main process has announced."""
        if command == STEP:
            self.step(self.state.step + 1, self.next_batches())
        elif command == GATHER:
            self.state.state_dict()
            self.state.full_model()
        elif command == GATHER_MODEL:
            self.state.full_model()

    def state_dict(self) -> tuple[RWKV7, dict[str, Tensor]]:
        """Return the full model and the tensors needed to resume (main process)."""
        self.group.send_command(GATHER)
        tensors = self.state.state_dict()
        return self.state.full_model(), tensors

    def full_model(self) -> RWKV7:
        """Return the current model to evaluate or to sample from (main process)."""
        if self.group.is_sharded:
            self.group.send_command(GATHER_MODEL)
        return self.state.full_model()

    def loss(self, batch: Batch, *, divide_by: float) -> HeadLoss:
        """Return the loss of a batch on the model's device, and the nats of its scored tokens."""
        before = self.state.carried if batch.continues else None
        objective, after = self._loss(batch, before, divide_by)
        self.state.carried = after.detach() if batch.continues else None
        return cast("HeadLoss", objective)

    def _count_tokens(self, batches: Sequence[Batch]) -> TokenCounts:
        local = [
            sum(batch.num_scored for batch in batches),
            sum(int((batch.tokens != self._padding_id).sum()) for batch in batches),
            sum(batch.tokens.numel() for batch in batches),
        ]
        counts = TokenCounts(*self.group.all_reduce(torch.tensor(local)).tolist())
        if not counts.scored:
            raise InputError("no target of this step is scored: the batches have no completions")
        return counts

    def _accumulate_gradients(
        self, batches: Sequence[Batch], num_scored: int
    ) -> tuple[float, dict[str, float]]:
        """Accumulate the gradient of the mean over all scored tokens, batch by batch.

        Returns:
            The sum of nats, and their mean by token type, over all processes.
        """
        # Gradients are averaged over the processes, but their sum is needed.
        world_size = self.group.world_size
        divide_by = num_scored / world_size if world_size > 1 else num_scored
        sums_by_type = torch.zeros(2, len(TokenType), dtype=torch.float64)
        nats_sum = torch.zeros(1, dtype=torch.float64)
        for index, batch in enumerate(batches, start=1):
            local = batch.to(self._device)
            with self.group.no_sync(self._loss, is_last=index == len(batches)):
                objective, nats = self.loss(local, divide_by=divide_by)
                objective.backward()
            nats_sum += nats.double().sum().cpu()
            if self._types is not None:
                scored_types = self._types[local.targets[local.completion_mask]]
                sums_by_type += _sum_by_type(nats, scored_types).cpu()
        total, *rest = self.group.all_reduce(torch.cat([nats_sum, sums_by_type.flatten()])).tolist()
        sums, counts = rest[: len(TokenType)], rest[len(TokenType) :]
        return total, {
            token_type.name: sums[token_type] / counts[token_type]
            for token_type in TokenType
            if counts[token_type]
        }

    def _require_finite(self, name: str, value: float, step: int) -> None:
        if value - value != 0:
            raise FloatingPointError(
                f"the {name} is {value} at step {step}: lower `learning_rate` (now "
                f"{self.config.optimizer.learning_rate})"
            )

    def _set_learning_rate(self, step: int) -> float:
        rate = self._schedule.at(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        return rate


def _parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _sum_by_type(
    nats: Float[Tensor, " scored"], types: Int[Tensor, " scored"]
) -> Float[Tensor, "2 types"]:
    """Return the sum of nats and the number of tokens of each token type."""
    sums = torch.zeros(2, len(TokenType), dtype=torch.float32, device=nats.device)
    sums[0].index_add_(0, types, nats.float())
    sums[1].index_add_(0, types, torch.ones_like(nats, dtype=torch.float32))
    return sums
