"""The endless loader of training batches: shuffled, augmented and packed windows.

`position` describes the loader's position in a few JSON values; a new loader that `seek`s to it
continues with exactly the same batches.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rwkv_music.data.loading.collate import Batch, collate, empty_batch
from rwkv_music.data.loading.completion_windows import CompletionSpan, Example, Windows
from rwkv_music.data.loading.packing import pack
from rwkv_music.data.loading.process_shard import WHOLE_BATCH, ProcessShard

Augmentation = Callable[[Example, np.random.Generator], Example]

_BATCHES_PER_POOL = 8


class WindowLoader(Iterator[Batch]):
    """Endless batches of windows; each epoch completes every bar once, at a new window offset.

    Examples are made in pools of eight batches. With packing, a batch is a random part of its pool,
    with several examples per row. Without packing, examples of similar length are batched together
    to reduce padding; the order of batches stays random.

    Args:
        windows: The windows to draw from.
        batch_size: Windows per batch. A corpus with fewer windows gives smaller batches.
        seed: Seed of order, offsets and augmentation.
        augment: Applied to each example with the loader's generator; None for no augmentation.
        holes: Applied to each augmented example; None for continuations only.
        packing: Whether a row may contain several windows.
        shard: Part of each batch to load. Positions count global batches.
    """

    def __init__(
        self,
        windows: Windows,
        *,
        batch_size: int,
        seed: int,
        augment: Augmentation | None = None,
        holes: Augmentation | None = None,
        packing: bool = True,
        shard: ProcessShard = WHOLE_BATCH,
    ) -> None:
        self._windows = windows
        self._batch_size = batch_size
        self._changes = [change for change in (augment, holes) if change is not None]
        self._packing = packing
        self._shard = shard
        self._generator = np.random.default_rng(seed)
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
        own = self._shard.select([len(example.ids) for example in global_batch])
        examples = [global_batch[index] for index in own]
        if not examples:
            return empty_batch()
        return pack(examples) if self._packing else collate(examples)

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
        offset = int(self._generator.integers(self._windows.completion_bars))
        spans = self._windows.spans(offset=offset)
        self._spans = [spans[index] for index in self._generator.permutation(len(spans))]
        self._pool_end = 0

    def _fill_pool(self, start: int) -> None:
        """Make and augment the next examples, and group them into batches."""
        self._pool_state = self._generator.bit_generator.state
        size = self._batch_size * _BATCHES_PER_POOL
        examples = [self._windows.example(span) for span in self._spans[start : start + size]]
        for change in self._changes:
            examples = [change(example, self._generator) for example in examples]
        if not self._packing:
            examples.sort(key=lambda example: len(example.ids))
        batches = [
            examples[first : first + self._batch_size]
            for first in range(0, len(examples), self._batch_size)
        ]
        self._pool = [batches[index] for index in self._generator.permutation(len(batches))]
        self._pool_start, self._pool_end = start, start + len(examples)
        self._delivered = 0
