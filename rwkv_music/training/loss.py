"""The model and its loss as one module, so that DDP and FSDP can wrap forward and backward."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rwkv_music.data import Batch
from rwkv_music.model import RWKV7, ModelState
from rwkv_music.ops.cross_entropy import HeadLoss, completion_objective
from rwkv_music.training.config import OptimizerConfig


class LossOutput(NamedTuple):
    """Loss of a batch, and the state behind it."""

    objective: HeadLoss
    state: ModelState
    """After the last token, with its autograd history."""


class CompletionLoss(nn.Module):
    """Cross entropy of the scored tokens of a batch.

    Args:
        model: The model to train.
        optimizer: Sets label smoothing and logit penalty.
        precision: "float32" or "bfloat16", for the matrix products.
        initial_wkv: WKV matrices that each sequence starts from, one per layer; zeros when None.
    """

    def __init__(
        self,
        model: RWKV7,
        optimizer: OptimizerConfig,
        *,
        precision: str,
        initial_wkv: Float[Tensor, "L H N N"] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self._label_smoothing = optimizer.label_smoothing
        self._logit_penalty = optimizer.logit_penalty
        self._uses_bfloat16 = precision == "bfloat16"
        self._initial_wkv = initial_wkv

    def forward(self, batch: Batch, state: ModelState | None, divide_by: float) -> LossOutput:
        """Return the loss of a batch and the state after it.

        Args:
            batch: On the model's device.
            state: The state to continue from; the initial one when None.
            divide_by: Divisor of the sum over the scored tokens.
        """
        if state is None and self._initial_wkv is not None:
            state = self._initial_state(len(batch.tokens))
        device_type = batch.tokens.device.type
        with torch.autocast(device_type, torch.bfloat16, enabled=self._uses_bfloat16):
            hidden, after = self.model.hidden(batch.tokens, state, resets=batch.resets)
            objective = completion_objective(
                hidden,
                self.model.head.weight,
                batch.targets,
                batch.completion_mask,
                label_smoothing=self._label_smoothing,
                logit_penalty=self._logit_penalty,
                divide_by=divide_by,
            )
        return LossOutput(objective, after)

    def _initial_state(self, batch_size: int) -> ModelState:
        assert self._initial_wkv is not None
        dtype = self.model.emb.weight.dtype
        return ModelState.beginning(self._initial_wkv, self.model.config, batch_size, dtype=dtype)
