"""Likelihood of music: sums of -ln p, per token, per note or per second.

Nats are summed twice: over the completion of a window (targets under the completion mask, from its
first bar token on), and over everything (every token but the first). Sums are divided by tokens, by
notes, which makes different tokenizers comparable, or by the duration in seconds, and split by
token type. The same code evaluates neural and n-gram models.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer

from rwkv_music.data import Example, collate
from rwkv_music.model import MusicModel, Style
from rwkv_music.ops.cross_entropy import completion_nats
from rwkv_music.tokenizer import Vocabulary
from rwkv_music.tokenizer.vocabulary import TokenType

Nats = Float[np.ndarray, " targets"]
Scored = Bool[np.ndarray, " targets"]


@dataclass(frozen=True)
class Likelihood:
    """Sum of nats over some music, with its tokens, notes and seconds."""

    nats: float = 0.0
    tokens: int = 0
    notes: int = 0
    seconds: float = 0.0
    nats_by_type: Mapping[str, float] = field(default_factory=dict)
    tokens_by_type: Mapping[str, int] = field(default_factory=dict)

    @property
    def nats_per_token(self) -> float:
        """Mean nats per token; its exponential is the perplexity."""
        return self.nats / self.tokens

    @property
    def nats_per_note(self) -> float:
        """Nats divided by the number of notes; infinite if there are none."""
        return self.nats / self.notes if self.notes else math.inf

    @property
    def bits_per_second(self) -> float:
        """Bits per second of music at its own tempo; infinite if the duration is 0."""
        return self.nats / math.log(2) / self.seconds if self.seconds else math.inf

    @property
    def by_type(self) -> dict[str, float]:
        """Nats per token of each token type, e.g. "PITCH", in the order of the vocabulary."""
        return {
            token_type.name: self.nats_by_type[token_type.name]
            / self.tokens_by_type[token_type.name]
            for token_type in TokenType
            if token_type.name in self.tokens_by_type
        }

    def __add__(self, other: "Likelihood") -> "Likelihood":
        """Return the likelihood of both together."""
        return Likelihood(
            nats=self.nats + other.nats,
            tokens=self.tokens + other.tokens,
            notes=self.notes + other.notes,
            seconds=self.seconds + other.seconds,
            nats_by_type=_added(self.nats_by_type, other.nats_by_type),
            tokens_by_type=_added(self.tokens_by_type, other.tokens_by_type),
        )

    def figures(self) -> dict[str, Any]:
        """Return all figures as JSON values; None for infinity."""
        ratios = {
            "nats_per_token": self.nats_per_token,
            "nats_per_note": self.nats_per_note,
            "bits_per_second": self.bits_per_second,
        }
        return {
            **{name: value if math.isfinite(value) else None for name, value in ratios.items()},
            "by_type": self.by_type,
            "tokens": self.tokens,
            "notes": self.notes,
            "seconds": self.seconds,
        }


def _added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


class Measured(NamedTuple):
    """Likelihood of the same windows: over their completions, and over everything."""

    completion: Likelihood
    everything: Likelihood

    def figures(self) -> dict[str, Any]:
        """Return the completion's figures, with those of everything under "everything"."""
        return {**self.completion.figures(), "everything": self.everything.figures()}


class WindowNats(NamedTuple):
    """-ln p of every token of a window except the first, and which of them are scored."""

    targets: Integer[np.ndarray, " targets"]
    nats: Nats
    scored: Scored


def count(
    targets: Integer[np.ndarray, " targets"], nats: Nats, vocabulary: Vocabulary, *, seconds: float
) -> Likelihood:
    """Return the likelihood of some tokens.

    Args:
        targets: Token ids.
        nats: -ln p of each.
        vocabulary: Gives the token types; a note is counted at its last token, the duration.
        seconds: Duration of the music.
    """
    types = vocabulary.types_of(targets)
    sums = np.bincount(types, weights=nats, minlength=len(TokenType))
    counts = np.bincount(types, minlength=len(TokenType))
    present = [token_type for token_type in TokenType if counts[token_type]]
    return Likelihood(
        nats=float(nats.sum()),
        tokens=len(targets),
        notes=int(counts[TokenType.DUR]),
        seconds=seconds,
        nats_by_type={token_type.name: float(sums[token_type]) for token_type in present},
        tokens_by_type={token_type.name: int(counts[token_type]) for token_type in present},
    )


def model_nats(
    model: MusicModel,
    examples: Iterable[Example],
    *,
    batch_size: int = 16,
    style: Style | None = None,
) -> Iterator[WindowNats]:
    """Yield the nats of the tokens of each window under a model, in order.

    The model is in evaluation mode meanwhile; its mode is restored afterwards.

    Args:
        model: A model on any device.
        examples: Windows, sorted by length for speed.
        batch_size: Windows per batch; does not change the result.
        style: Initial state of each window; zeros when None.
    """
    network = model.network
    was_training = network.training
    network.eval()
    device = model.device
    try:
        for group in _groups(examples, batch_size):
            batch = collate(group)
            lengths = torch.tensor([len(example.ids) - 1 for example in group])
            real = torch.arange(batch.tokens.shape[1]) < lengths[:, None]
            here = batch.to(device)
            with torch.no_grad():
                start = None if style is None else style.state(model, len(group))
                hidden, _ = network.hidden(here.tokens, start)
                nats = completion_nats(hidden, network.head.weight, here.targets, real.to(device))
            parts = (batch.targets[real], nats.double().cpu(), batch.completion_mask[real])
            rows = zip(*(column.split(lengths.tolist()) for column in parts), strict=True)
            yield from (WindowNats(*(part.numpy() for part in row)) for row in rows)
    finally:
        network.train(was_training)


def _groups(examples: Iterable[Example], size: int) -> Iterator[list[Example]]:
    group: list[Example] = []
    for example in examples:
        group.append(example)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
