"""Examples -> `Batch`: padding, the shift by one, and the completion mask.

The mask is born here and nowhere else. The hidden states that reach the head and the targets they
are compared with are both taken with this one tensor, so the two cannot disagree.

B sequences, T positions. Position t reads token t and predicts token t + 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from rwkv_music.data.dataset import Example
from rwkv_music.errors import InputError


@dataclass(frozen=True)
class Batch:
    """What one training step reads."""

    tokens: Int[Tensor, "B T"]
    """What the model sees; the padding id after a sequence's end."""
    targets: Int[Tensor, "B T"]
    """The token that did come after each position: the shift is already done."""
    completion_mask: Bool[Tensor, "B T"]
    """True where the target belongs to the completion. Prompt targets and padding are False."""

    @property
    def num_scored(self) -> int:
        """Number of targets that count."""
        return int(self.completion_mask.sum())

    @property
    def scored_share(self) -> float:
        """Share of all positions, padding included, whose target counts."""
        return self.num_scored / self.completion_mask.numel()

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return Batch(
            tokens=self.tokens.to(device),
            targets=self.targets.to(device),
            completion_mask=self.completion_mask.to(device),
        )


def collate(examples: Sequence[Example], *, padding_id: int = 0) -> Batch:
    """Pad examples to one length, shift by one, and mark the completion.

    The first scored target of an example is the token at its `completion_start` (the bar token
    that opens the completion), predicted at the position before it; the last one is the example's
    last token.

    Args:
        examples: At least one; each must have a token before its completion and one in it.
        padding_id: What fills the tail of the shorter ones. It is never scored.

    Raises:
        InputError: If an example has no prompt or no completion.

    Example:
        >>> import numpy as np
        >>> ids = np.array([1, 5, 3, 7], dtype=np.uint16)
        >>> collate([Example(ids=ids, completion_start=2)]).completion_mask.tolist()
        [[False, True, True]]
    """
    if not examples:
        raise InputError("a batch needs at least one example, got 0")
    for example in examples:
        if not 1 <= example.completion_start < len(example.ids):
            raise InputError(
                f"completion_start must be in [1, {len(example.ids)}), got "
                f"{example.completion_start}: an example needs a prompt and a completion"
            )
    length = max(len(example.ids) for example in examples) - 1
    tokens = torch.full((len(examples), length), padding_id, dtype=torch.int64)
    targets = tokens.clone()
    completion_mask = torch.zeros(tokens.shape, dtype=torch.bool)
    for row, example in enumerate(examples):
        ids = torch.from_numpy(example.ids.astype("int64"))
        last = len(ids) - 1
        tokens[row, :last] = ids[:-1]
        targets[row, :last] = ids[1:]
        completion_mask[row, example.completion_start - 1 : last] = True
    return Batch(tokens=tokens, targets=targets, completion_mask=completion_mask)
