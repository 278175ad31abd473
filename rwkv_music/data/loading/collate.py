"""Examples to a `Batch`: rows, padding, the shift by one, and the completion mask.

No other module makes a completion mask. The hidden states that reach the head and the targets they
are compared with are both selected with this one tensor, so that they cannot disagree.

B is the number of rows, T the number of positions. Position t reads token t and predicts token
t + 1.
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
    """Input of one training step."""

    tokens: Int[Tensor, "B T"]
    """Input tokens; the padding id after the end of a row."""
    targets: Int[Tensor, "B T"]
    """Token that follows each position (already shifted by one)."""
    completion_mask: Bool[Tensor, "B T"]
    """True where the target belongs to a completion; False for prompts and padding."""
    resets: Bool[Tensor, "B T"] | None = None
    """True where an example begins; None if each row contains one example."""
    continues: bool = False
    """Whether each row continues the same row of the previous batch."""

    @property
    def num_scored(self) -> int:
        """Number of scored targets."""
        return int(self.completion_mask.sum())

    @property
    def scored_fraction(self) -> float:
        """Fraction of all positions, including padding, whose target is scored."""
        return self.num_scored / self.completion_mask.numel()

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """Return the batch on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """Return the batch in pinned memory, which a GPU can copy while it computes."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(
            tokens=function(self.tokens),
            targets=function(self.targets),
            completion_mask=function(self.completion_mask),
            resets=None if self.resets is None else function(self.resets),
            continues=self.continues,
        )


class TokenSpan(NamedTuple):
    """Consecutive positions of an example."""

    example: Example
    start: int
    """First position; it reads the token with this index."""
    stop: int
    """One more than the last position. An example has one position fewer than tokens."""


def collate(examples: Sequence[Example], *, padding_id: int = 0) -> Batch:
    """Make a batch with one row per example, padded to the longest.

    Args:
        examples: At least one; each needs a token before its completion and one in it.
        padding_id: Id that fills the ends of shorter rows. It is never scored.

    Raises:
        InputError: If an example has no prompt or no completion.

    Example:
        >>> import numpy as np
        >>> ids = np.array([1, 5, 3, 7], dtype=np.uint16)
        >>> collate([Example(ids=ids, completion_start=2)]).completion_mask.tolist()
        [[False, True, True]]
    """
    return pack_rows([[full_span(example)] for example in examples], padding_id=padding_id)


def empty_batch(*, padding_id: int = 0) -> Batch:
    """Return a batch of one padding position, for a process without a part of the batch."""
    tokens = torch.full((1, 1), padding_id, dtype=torch.int64)
    return Batch(tokens, tokens.clone(), torch.zeros(1, 1, dtype=torch.bool))


def full_span(example: Example) -> TokenSpan:
    """Return all positions of an example."""
    return TokenSpan(example, 0, len(example.ids) - 1)


def pack_rows(
    rows: Sequence[Sequence[TokenSpan]], *, padding_id: int = 0, continues: bool = False
) -> Batch:
    """Concatenate the spans of each row, shift by one, and mark the completions.

    The first scored target of an example is the token at its `completion_start` (the BAR token of
    the completion), predicted at the position before it; the last one is the example's last token.
    That token is only a target: no example predicts the beginning of the next one. In a stream with
    a hole, what is given inside the hole is not scored.

    Args:
        rows: At least one row of at least one span.
        padding_id: Id that fills the ends of shorter rows.
        continues: Whether each row continues the same row of the previous batch.

    Raises:
        InputError: If there is no example, or one has no prompt or no completion.
    """
    _check_examples([span.example for row in rows for span in row])
    length = max(sum(span.stop - span.start for span in row) for row in rows)
    tokens = torch.full((len(rows), length), padding_id, dtype=torch.int64)
    targets = tokens.clone()
    completion_mask = torch.zeros(tokens.shape, dtype=torch.bool)
    resets = torch.zeros(tokens.shape, dtype=torch.bool)
    for row, spans in enumerate(rows):
        begin = 0
        for example, start, stop in spans:
            end = begin + stop - start
            ids = torch.from_numpy(example.ids[start : stop + 1].astype("int64"))
            tokens[row, begin:end] = ids[:-1]
            targets[row, begin:end] = ids[1:]
            scored = example.is_scored()[start + 1 : stop + 1]
            completion_mask[row, begin:end] = torch.from_numpy(scored)
            resets[row, begin] = start == 0
            begin = end
    is_packed = continues or any(len(spans) > 1 for spans in rows)
    return Batch(tokens, targets, completion_mask, resets if is_packed else None, continues)


def _check_examples(examples: Sequence[Example]) -> None:
    if not examples:
        raise InputError("a batch needs at least one example, got 0")
    for example in examples:
        if not 1 <= example.completion_start < len(example.ids):
            raise InputError(
                f"completion_start must be in [1, {len(example.ids)}), got "
                f"{example.completion_start}: an example needs a prompt and a completion"
            )
