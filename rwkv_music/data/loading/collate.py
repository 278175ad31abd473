"""Examples -> `Batch`: rows and their padding, the shift by one, and the completion mask.

The mask is born here and nowhere else. The hidden states that reach the head and the targets they
are compared with are both taken with this one tensor, so the two cannot disagree.

B sequences, T positions. Position t reads token t and predicts token t + 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from rwkv_music.data.loading.completion_windows import Example
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
    resets: Bool[Tensor, "B T"] | None = None
    """True where an example begins; None where each row holds one, from its first position on."""
    continues: bool = False
    """Whether each row goes on where the same row of the batch before ended."""

    @property
    def num_scored(self) -> int:
        """Number of targets that count."""
        return int(self.completion_mask.sum())

    @property
    def scored_fraction(self) -> float:
        """Share of all positions, padding included, whose target counts."""
        return self.num_scored / self.completion_mask.numel()

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """The same batch on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The same batch where a GPU can fetch it while it computes."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(
            tokens=change(self.tokens),
            targets=change(self.targets),
            completion_mask=change(self.completion_mask),
            resets=None if self.resets is None else change(self.resets),
            continues=self.continues,
        )


def collate(examples: Sequence[Example], *, padding_id: int = 0) -> Batch:
    """A row for each example, padded to one length.

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
    return pack_rows([[all_tokens(example)] for example in examples], padding_id=padding_id)


def empty_batch(*, padding_id: int = 0) -> Batch:
    """A batch of one position of padding, for a process whose part of a batch is empty."""
    tokens = torch.full((1, 1), padding_id, dtype=torch.int64)
    return Batch(tokens, tokens.clone(), torch.zeros(1, 1, dtype=torch.bool))


class TokenSpan(NamedTuple):
    """Some positions of an example, one after another."""

    example: Example
    start: int
    """The first position: the one that reads the token of this number."""
    stop: int
    """The position behind the last one; an example has one less than tokens."""


def all_tokens(example: Example) -> TokenSpan:
    """All positions of an example."""
    return TokenSpan(example, 0, len(example.ids) - 1)


def pack_rows(
    rows: Sequence[Sequence[TokenSpan]], *, padding_id: int = 0, continues: bool = False
) -> Batch:
    """Stretches one after another in each row, shifted by one, with their completions marked.

    The first scored target of an example is the token at its `completion_start` (the bar token
    that opens the completion), predicted at the position before it; the last one is the example's
    last token. An example's last token is a target only: no example predicts what the next one
    begins with.

    Args:
        rows: At least one, each of at least one stretch.
        padding_id: What fills the rows' tails.
        continues: Whether each row goes on where that of the batch before ended.

    Raises:
        InputError: If there is no example, or one has no prompt or no completion.
    """
    _check([stretch.example for row in rows for stretch in row])
    length = max(sum(stretch.stop - stretch.start for stretch in row) for row in rows)
    tokens = torch.full((len(rows), length), padding_id, dtype=torch.int64)
    targets = tokens.clone()
    completion_mask = torch.zeros(tokens.shape, dtype=torch.bool)
    resets = torch.zeros(tokens.shape, dtype=torch.bool)
    for number, row in enumerate(rows):
        place = 0
        for example, start, stop in row:
            end = place + stop - start
            ids = torch.from_numpy(example.ids[start : stop + 1].astype("int64"))
            tokens[number, place:end] = ids[:-1]
            targets[number, place:end] = ids[1:]
            scored = max(0, example.completion_start - 1 - start)
            completion_mask[number, place + scored : end] = True
            resets[number, place] = start == 0
            place = end
    is_packed = continues or any(len(row) > 1 for row in rows)
    return Batch(tokens, targets, completion_mask, resets if is_packed else None, continues)


def _check(examples: Sequence[Example]) -> None:
    if not examples:
        raise InputError("a batch needs at least one example, got 0")
    for example in examples:
        if not 1 <= example.completion_start < len(example.ids):
            raise InputError(
                f"completion_start must be in [1, {len(example.ids)}), got "
                f"{example.completion_start}: an example needs a prompt and a completion"
            )
