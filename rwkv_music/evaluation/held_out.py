"""Held-out windows, and their likelihood under a model or a baseline."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer

from rwkv_music.data import Example, collate
from rwkv_music.errors import InputError
from rwkv_music.evaluation.likelihood import (
    Likelihood,
    Measured,
    WindowNats,
    count,
    model_nats,
)
from rwkv_music.evaluation.ngram import NGramModel
from rwkv_music.evaluation.repetition import RepetitionModel
from rwkv_music.model import MusicModel, Style
from rwkv_music.tokenizer import Tokenizer

NGRAM_ORDER = 5
_BASELINE_TOKENS = 8_000_000


class HeldOut:
    """Windows to evaluate on.

    Args:
        examples: The windows; at least one.
        tokenizer: The tokenizer that made them.

    Raises:
        InputError: If there is no window.
    """

    def __init__(self, examples: Iterable[Example], tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.examples = sorted(examples, key=lambda example: len(example.ids))
        if not self.examples:
            raise InputError("there are no examples to measure: the list of windows is empty")
        self._seconds = [window_seconds(example, tokenizer) for example in self.examples]

    def likelihood(
        self, model: MusicModel, *, batch_size: int = 16, style: Style | None = None
    ) -> Measured:
        """Return the likelihood of the windows under a model, optionally with a style."""
        return self._sum(model_nats(model, self.examples, batch_size=batch_size, style=style))

    def likelihood_unless(
        self, model: MusicModel, should_stop: Callable[[], bool], *, batch_size: int = 16
    ) -> Measured | None:
        """Return the likelihood, or None if `should_stop` returned True between two windows."""
        windows = model_nats(model, self.examples, batch_size=batch_size)
        kept = list(itertools.takewhile(lambda _window: not should_stop(), windows))
        return self._sum(kept) if len(kept) == len(self.examples) else None

    def ngram_likelihood(self, model: NGramModel | RepetitionModel) -> Measured:
        """Return the likelihood under an n-gram model, each window separately."""
        return self._sum(
            _window_nats(example, model.nats(example.ids)[1:]) for example in self.examples
        )

    def uniform_likelihood(self) -> Measured:
        """Return the likelihood under the uniform distribution over the ids in use."""
        nats = math.log(self.tokenizer.vocabulary.num_used)
        return self._sum(
            _window_nats(example, np.full(len(example.ids) - 1, nats)) for example in self.examples
        )

    def _sum(self, windows: Iterable[WindowNats]) -> Measured:
        vocabulary = self.tokenizer.vocabulary
        completion, everything = Likelihood(), Likelihood()
        for (targets, nats, scored), seconds in zip(windows, self._seconds, strict=True):
            everything += count(targets, nats, vocabulary, seconds=seconds.everything)
            completion += count(
                targets[scored], nats[scored], vocabulary, seconds=seconds.completion
            )
        return Measured(completion, everything)


def _window_nats(example: Example, nats: np.ndarray) -> WindowNats:
    batch = collate([example])
    return WindowNats(batch.targets[0].numpy(), nats, batch.completion_mask[0].numpy())


class WindowSeconds(NamedTuple):
    """Duration of a window in whole bars, at its own tempo."""

    completion: float
    """From the completion_bar to the last bar line."""
    everything: float
    """From the first bar line to the last."""


def window_seconds(example: Example, tokenizer: Tokenizer) -> WindowSeconds:
    """Return the duration of a window and of its completion, in whole bars."""
    from rwkv_music.score import TempoMap
    from rwkv_music.score.timing import bar_line

    score = tokenizer.decode(example.ids)
    bars = tokenizer.num_bars(example.ids)
    completion_bar = tokenizer.num_bars(example.ids[: example.completion_start])
    tempo = TempoMap(score)
    start_seconds, end_seconds = tempo.ticks_to_seconds(
        np.array([bar_line(score, completion_bar), bar_line(score, bars)])
    ).tolist()
    return WindowSeconds(completion=end_seconds - start_seconds, everything=end_seconds)


def baselines(
    streams: Sequence[Integer[np.ndarray, " _"]], held_out: HeldOut
) -> dict[str, dict[str, Any]]:
    """Return the figures of baselines without a neural network: uniform, unigram and 5-gram.

    Args:
        streams: Token ids of the training pieces. Above 8 million tokens, evenly spaced pieces are
            used.
        held_out: Windows to evaluate on.

    Returns:
        Figures by name, with the number of training tokens used.
    """
    total = sum(len(stream) for stream in streams)
    counted = streams[:: max(1, -(-total // _BASELINE_TOKENS))]
    counted_tokens = sum(len(stream) for stream in counted)
    figures = {"uniform": {**held_out.uniform_likelihood().figures(), "trained_tokens": 0}}
    vocab_size = held_out.tokenizer.vocab_size
    for name, order in (("unigram", 1), (f"{NGRAM_ORDER}-gram", NGRAM_ORDER)):
        model = NGramModel(counted, vocab_size=vocab_size, order=order)
        figures[name] = {
            **held_out.ngram_likelihood(model).figures(),
            "trained_tokens": counted_tokens,
        }
    return figures
