"""The endless loader of training batches: shuffled, augmented and packed windows.

`position` describes the loader's position in a few JSON values; a new loader that `seek`s to it
continues with exactly the same batches.
"""

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from rwkv_music.data.loading.collate import Batch, collate, empty_batch
from rwkv_music.data.loading.completion_windows import CompletionSpan, Example, Windows
from rwkv_music.data.loading.packing import pack
from rwkv_music.data.loading.process_shard import WHOLE_BATCH, ProcessShard

Augmentation = Callable[[Example, np.random.Generator], Example]

_BATCHES_PER_POOL = 8


@dataclass(eq=False)
class WindowLoader(Iterator[Batch]):
    """Endless batches of windows; each epoch completes every bar once, at a new window offset.

    Examples are made in pools of eight batches. With packing, a batch is a random part of its pool,
    with several examples per row. Without packing, examples of similar length are batched together
    to reduce padding; the order of batches stays random.
    """

    windows: Windows
    """The windows to draw from."""
    _: KW_ONLY
    batch_size: int
    """Windows per batch. A corpus with fewer windows gives smaller batches."""
    seed: int
    """Seed of order, offsets and augmentation."""
    augment: Augmentation | None = None
    """Applied to each example with the loader's generator; None for no augmentation."""
    holes: Augmentation | None = None
    """Applied to each augmented example; None for continuations only."""
    packing: bool = True
    """Whether a row may contain several windows."""
    shard: ProcessShard = WHOLE_BATCH
    """Part of each batch to load. Positions count global batches."""

    def __post_init__(self) -> None:
        self._generator = np.random.default_rng(self.seed)
        self._epoch_state = self._pool_state = self._generator.bit_generator.state
        self._spans: list[CompletionSpan] = []
        self._pool_start = self._pool_end = 0
        self._pool: list[list[Example]] = []
        self._delivered = 0

    def __next__(self) -> Batch:
        """Return the next batch."""
        if self._delivered == len(self._pool):
            if self._pool_end == len(self._spans):
                self._begin_epoch()
            self._fill_pool(self._pool_end)
        self._delivered += 1
        global_batch = self._pool[self._delivered - 1]
        own = self.shard.select([len(example.ids) for example in global_batch])
        examples = [global_batch[index] for index in own]
        if not examples:
            return empty_batch()
        return pack(examples) if self.packing else collate(examples)

    def position(self) -> dict[str, Any]:
        """Return the position of the next batch in JSON values."""
        return {
            "epoch": self._epoch_state,
            "pool": self._pool_state,
            "pool_start": self._pool_start,
            "delivered": self._delivered,
        }

    def seek(self, position: dict[str, Any]) -> None:
        """Go to a `position` of a loader with the same windows and settings."""
        self._generator.bit_generator.state = position["epoch"]
        self._spans, self._pool = [], []
        self._pool_end = self._delivered = 0
        if position["delivered"]:
            self._begin_epoch()
            self._generator.bit_generator.state = position["pool"]
            self._fill_pool(position["pool_start"])
            self._delivered = position["delivered"]

    def _begin_epoch(self) -> None:
        """Choose a new window offset and shuffle the windows."""
        self._epoch_state = self._generator.bit_generator.state
        offset = int(self._generator.integers(self.windows.completion_bars))
        spans = self.windows.spans(offset=offset)
        self._spans = [spans[index] for index in self._generator.permutation(len(spans))]
        self._pool_end = 0

    def _fill_pool(self, start: int) -> None:
        """Make and augment the next examples, and group them into batches."""
        self._pool_state = self._generator.bit_generator.state
        size = self.batch_size * _BATCHES_PER_POOL
        examples = [self.windows.example(span) for span in self._spans[start : start + size]]
        for change in (self.augment, self.holes):
            if change is not None:
                examples = [change(example, self._generator) for example in examples]
        if not self.packing:
            examples.sort(key=lambda example: len(example.ids))
        batches = [
            examples[first : first + self.batch_size]
            for first in range(0, len(examples), self.batch_size)
        ]
        self._pool = [batches[index] for index in self._generator.permutation(len(batches))]
        self._pool_start, self._pool_end = start, start + len(examples)
        self._delivered = 0
