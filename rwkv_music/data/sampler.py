"""The endless stream of training batches: shuffled, augmented, similar lengths together."""

from collections.abc import Callable, Iterator

import numpy as np

from rwkv_music.data.batching import Batch, collate
from rwkv_music.data.dataset import Example, Windows

Augmentation = Callable[[Example, np.random.Generator], Example]

_BATCHES_SORTED_TOGETHER = 8


def training_batches(
    windows: Windows,
    *,
    batch_size: int,
    seed: int,
    augment: Augmentation | None = None,
) -> Iterator[Batch]:
    """Batches without end; each epoch completes every bar once, with the windows moved.

    Windows of similar length are put into one batch (they are sorted within eight batches' worth),
    so that little of it is padding; the order of batches stays random.

    Args:
        windows: Where examples come from.
        batch_size: Sequences in a batch. A corpus smaller than that gives smaller batches.
        seed: Fixes order, offsets and augmentation.
        augment: Applied to each example with the stream's own generator; None leaves them as cut.
    """
    generator = np.random.default_rng(seed)
    while True:
        spans = windows.spans(offset=int(generator.integers(windows.completion_bars)))
        examples = (windows.example(spans[place]) for place in generator.permutation(len(spans)))
        if augment is not None:
            examples = (augment(example, generator) for example in examples)
        yield from _similar_lengths_together(examples, batch_size, generator)


def _similar_lengths_together(
    examples: Iterator[Example], batch_size: int, generator: np.random.Generator
) -> Iterator[Batch]:
    pool: list[Example] = []
    for example in examples:
        pool.append(example)
        if len(pool) == batch_size * _BATCHES_SORTED_TOGETHER:
            yield from _batches_of(pool, batch_size, generator)
            pool = []
    if pool:
        yield from _batches_of(pool, batch_size, generator)


def _batches_of(
    pool: list[Example], batch_size: int, generator: np.random.Generator
) -> Iterator[Batch]:
    pool = sorted(pool, key=lambda example: len(example.ids))
    groups = [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
    for place in generator.permutation(len(groups)):
        yield collate(groups[place])
