"""The model and its loss as one module, so that whoever wraps it sees each forward and backward."""

from typing import NamedTuple

import torch
from torch import nn

from rwkv_music.data import Batch
from rwkv_music.model import RWKV7, ModelState
from rwkv_music.ops.cross_entropy import Objective, completion_objective
from rwkv_music.training.config import TrainingConfig


class Outcome(NamedTuple):
    """What became of a batch."""

    objective: Objective
    after: ModelState
    """After the last token, with its history."""


class CompletionLoss(nn.Module):
    """What to descend, of a batch.

    Args:
        model: Whose parameters are trained.
        config: Precision, label smoothing and logit penalty are read from it.
    """

    def __init__(self, model: RWKV7, config: TrainingConfig) -> None:
        super().__init__()
        self.model = model
        self._config = config

    def forward(self, batch: Batch, before: ModelState | None, divide_by: float) -> Outcome:
        """The batch's objective and state.

        Args:
            batch: On the model's device.
            before: The state it goes on from.
            divide_by: What the sum over its scored tokens is divided by.
        """
        is_narrow = self._config.hardware.precision == "bfloat16"
        with torch.autocast(batch.tokens.device.type, torch.bfloat16, enabled=is_narrow):
            hidden, after = self.model.hidden(batch.tokens, before, resets=batch.resets)
            objective = completion_objective(
                hidden,
                self.model.head.weight,
                batch.targets,
                batch.completion_mask,
                label_smoothing=self._config.optimizer.label_smoothing,
                logit_penalty=self._config.optimizer.logit_penalty,
                divide_by=divide_by,
            )
        return Outcome(objective, after)
