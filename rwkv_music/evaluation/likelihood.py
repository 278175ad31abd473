"""How surprising music is: sums of -ln p, and what to divide them by.

A window's nats are counted twice: over its completion (the targets under the completion mask, from
the bar token that opens it on), and over everything, which is every token but the first. Each sum
is divided by tokens, by notes, which makes figures of different tokenizers comparable, or by the
seconds the music takes; and it is split by kind of token. A model and an n-gram model are counted
by the same lines of code.
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
    """A sum of nats over some music and what to divide it by."""

    nats: float = 0.0
    tokens: int = 0
    notes: int = 0
    seconds: float = 0.0
    nats_by_kind: Mapping[str, float] = field(default_factory=dict)
    tokens_by_kind: Mapping[str, int] = field(default_factory=dict)

    @property
    def nats_per_token(self) -> float:
        """Mean nats of a token; its exponential is the perplexity."""
        return self.nats / self.tokens

    @property
    def nats_per_note(self) -> float:
        """Nats divided by the notes they spell; infinite where there is none."""
        return self.nats / self.notes if self.notes else math.inf

    @property
    def bits_per_second(self) -> float:
        """Bits a second of music takes at its own tempo; infinite where no time passes."""
        return self.nats / math.log(2) / self.seconds if self.seconds else math.inf

    @property
    def by_kind(self) -> dict[str, float]:
        """Nats per token of each kind, e.g. "PITCH", in the order of the vocabulary."""
        return {
            kind.name: self.nats_by_kind[kind.name] / self.tokens_by_kind[kind.name]
            for kind in TokenType
            if kind.name in self.tokens_by_kind
        }

    def __add__(self, other: "Likelihood") -> "Likelihood":
        """The likelihood of the music of both."""
        return Likelihood(
            nats=self.nats + other.nats,
            tokens=self.tokens + other.tokens,
            notes=self.notes + other.notes,
            seconds=self.seconds + other.seconds,
            nats_by_kind=_added(self.nats_by_kind, other.nats_by_kind),
            tokens_by_kind=_added(self.tokens_by_kind, other.tokens_by_kind),
        )

    def figures(self) -> dict[str, Any]:
        """Every figure, in values that JSON holds; None stands for an infinite one."""
        ratios = {
            "nats_per_token": self.nats_per_token,
            "nats_per_note": self.nats_per_note,
            "bits_per_second": self.bits_per_second,
        }
        return {
            **{name: value if math.isfinite(value) else None for name, value in ratios.items()},
            "by_kind": self.by_kind,
            "tokens": self.tokens,
            "notes": self.notes,
            "seconds": self.seconds,
        }


def _added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


class Measured(NamedTuple):
    """The likelihood of the same windows, counted over their completions and over everything."""

    completion: Likelihood
    everything: Likelihood

    def figures(self) -> dict[str, Any]:
        """The completion's figures, and those of everything under that name."""
        return {**self.completion.figures(), "everything": self.everything.figures()}


class WindowNats(NamedTuple):
    """-ln p of every token of a window but the first, and which of them are scored."""

    targets: Integer[np.ndarray, " targets"]
    nats: Nats
    scored: Scored


def count(
    targets: Integer[np.ndarray, " targets"], nats: Nats, vocabulary: Vocabulary, *, seconds: float
) -> Likelihood:
    """The likelihood of some tokens.

    Args:
        targets: Token ids.
        nats: -ln p of each.
        vocabulary: To tell kinds apart; a note is counted by its last token, the duration.
        seconds: How long the music they spell takes.
    """
    kinds = vocabulary.types_of(targets)
    sums = np.bincount(kinds, weights=nats, minlength=len(TokenType))
    numbers = np.bincount(kinds, minlength=len(TokenType))
    found = [kind for kind in TokenType if numbers[kind]]
    return Likelihood(
        nats=float(nats.sum()),
        tokens=len(targets),
        notes=int(numbers[TokenType.DUR]),
        seconds=seconds,
        nats_by_kind={kind.name: float(sums[kind]) for kind in found},
        tokens_by_kind={kind.name: int(numbers[kind]) for kind in found},
    )


def model_nats(
    model: MusicModel,
    examples: Iterable[Example],
    *,
    batch_size: int = 16,
    style: Style | None = None,
) -> Iterator[WindowNats]:
    """What the model gives the tokens of some windows, in their order.

    The model is in evaluation mode for the time and back in its own mode afterwards.

    Args:
        model: On any device; the batches follow it there.
        examples: Windows with their completion start, similar lengths together for speed.
        batch_size: Windows read at once; the result does not depend on it.
        style: What the model begins each window with; nothing when None.
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
            rows = zip(*(each.split(lengths.tolist()) for each in parts), strict=True)
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
