"""Nats of held-out completions, per token and per note.

A completion's nats are the sum of -ln p over its tokens, the bar token that opens it included. Per
token they are a mean over tokens; per note the same sum is divided by the number of notes, which
makes figures of different tokenizers comparable.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from rwkv_music.data import Batch, Example, collate
from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7
from rwkv_music.ops.cross_entropy import completion_nats
from rwkv_music.tokenizer import Vocabulary


@dataclass(frozen=True)
class CompletionLikelihood:
    """A sum of nats over completions and what to divide it by."""

    nats: float
    tokens: int
    notes: int

    @property
    def nats_per_token(self) -> float:
        """Mean nats of a completion token; its exponential is the perplexity."""
        return self.nats / self.tokens

    @property
    def nats_per_note(self) -> float:
        """Nats of the completions divided by the notes in them."""
        return self.nats / self.notes

    def __add__(self, other: "CompletionLikelihood") -> "CompletionLikelihood":
        """The likelihood of both sets of completions."""
        return CompletionLikelihood(
            self.nats + other.nats, self.tokens + other.tokens, self.notes + other.notes
        )


def notes_in_completion(batch: Batch, vocabulary: Vocabulary) -> int:
    """Number of notes whose last token (the duration) is a scored target."""
    scored = batch.targets[batch.completion_mask]
    durations = vocabulary.duration
    return int(((scored >= durations.start) & (scored < durations.stop)).sum())


@torch.no_grad()
def completion_likelihood(
    model: RWKV7,
    examples: Iterable[Example],
    vocabulary: Vocabulary,
    *,
    batch_size: int = 16,
) -> CompletionLikelihood:
    """What the model gives the completions of some examples.

    The model is put in evaluation mode for the time and back into its own mode afterwards.

    Args:
        model: On any device; the batches follow it there.
        examples: Windows with their completion start.
        vocabulary: To tell notes from other tokens.
        batch_size: Windows read at once; the result does not depend on it.

    Raises:
        InputError: If there are no examples.
    """
    was_training = model.training
    model.eval()
    device = model.emb.weight.device
    total = CompletionLikelihood(0.0, 0, 0)
    for batch in _batches(examples, batch_size):
        here = batch.to(device)
        hidden, _ = model.hidden(here.tokens)
        nats = completion_nats(hidden, model.head.weight, here.targets, here.completion_mask)
        notes = notes_in_completion(batch, vocabulary)
        total += CompletionLikelihood(float(nats.double().sum()), len(nats), notes)
    model.train(was_training)
    if total.tokens == 0:
        raise InputError("there are no examples to measure: the list of windows is empty")
    return total


def _batches(examples: Iterable[Example], batch_size: int) -> Iterable[Batch]:
    ordered = sorted(examples, key=lambda example: len(example.ids))
    for first in range(0, len(ordered), batch_size):
        yield collate(ordered[first : first + batch_size])
