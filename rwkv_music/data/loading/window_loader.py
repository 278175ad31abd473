"""The endless stream of training batches: shuffled, augmented, packed.

The stream knows its place: `position` names it in a few plain values, and a new stream that is sent
there with `seek` goes on with the very batches the first one would have given.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rwkv_music.data.loading.collate import Batch, collate, empty_batch
from rwkv_music.data.loading.completion_windows import CompletionSpan, Example, Windows
from rwkv_music.data.loading.packing import pack
from rwkv_music.data.loading.process_shard import WHOLE_BATCH, ProcessShard

Augmentation = Callable[[Example, np.random.Generator], Example]

_BATCHES_IN_POOL = 8


class WindowLoader(Iterator[Batch]):
    """Batches without end; each epoch completes every bar once, with the windows moved.

    Examples are cut a pool at a time, which is eight batches. Packed, a batch is any of them, in
    rows that hold several. With a row for each, those of similar length are put into one batch, so
    that less of it is padding; the order of batches stays random.

    Args:
        windows: Where examples come from.
        batch_size: Windows in a batch. A corpus smaller than that gives smaller batches.
        seed: Fixes order, offsets and augmentation.
        augment: Applied to each example with the stream's own generator; None leaves them as cut.
        packing: Whether a row may hold several windows.
        share: Which part of each batch to lay out; the places are those of the joint batches.
    """

    def __init__(
        self,
        windows: Windows,
        *,
        batch_size: int,
        seed: int,
        augment: Augmentation | None = None,
        packing: bool = True,
        share: ProcessShard = WHOLE_BATCH,
    ) -> None:
        self._windows = windows
        self._batch_size = batch_size
        self._augment = augment
        self._packing = packing
        self._share = share
        self._generator = np.random.default_rng(seed)
        self._epoch_state = self._pool_state = self._generator.bit_generator.state
        self._spans: list[CompletionSpan] = []
        self._pool_start = self._pool_end = 0
        self._pool: list[list[Example]] = []
        self._delivered = 0

    def __next__(self) -> Batch:
        """The next batch."""
        if self._delivered == len(self._pool):
            if self._pool_end == len(self._spans):
                self._begin_epoch()
            self._fill_pool(self._pool_end)
        self._delivered += 1
        joint = self._pool[self._delivered - 1]
        examples = [joint[place] for place in self._share.of([len(each.ids) for each in joint])]
        if not examples:
            return empty_batch()
        return pack(examples) if self._packing else collate(examples)

    def position(self) -> dict[str, Any]:
        """Where the next batch comes from, in values that JSON holds."""
        return {
            "epoch": self._epoch_state,
            "pool": self._pool_state,
            "pool_start": self._pool_start,
            "delivered": self._delivered,
        }

    def seek(self, position: dict[str, Any]) -> None:
        """Go to a place that `position` told, of a stream with the same windows and settings."""
        self._generator.bit_generator.state = position["epoch"]
        self._spans, self._pool = [], []
        self._pool_end = self._delivered = 0
        if position["delivered"]:
            self._begin_epoch()
            self._generator.bit_generator.state = position["pool"]
            self._fill_pool(position["pool_start"])
            self._delivered = position["delivered"]

    def _begin_epoch(self) -> None:
        """Slide the windows and shuffle them."""
        self._epoch_state = self._generator.bit_generator.state
        offset = int(self._generator.integers(self._windows.completion_bars))
        spans = self._windows.spans(offset=offset)
        self._spans = [spans[place] for place in self._generator.permutation(len(spans))]
        self._pool_end = 0

    def _fill_pool(self, start: int) -> None:
        """Cut and change the next examples, and say which make a batch."""
        self._pool_state = self._generator.bit_generator.state
        size = self._batch_size * _BATCHES_IN_POOL
        examples = [self._windows.example(span) for span in self._spans[start : start + size]]
        if self._augment is not None:
            examples = [self._augment(example, self._generator) for example in examples]
        if not self._packing:
            examples.sort(key=lambda example: len(example.ids))
        groups = [
            examples[first : first + self._batch_size]
            for first in range(0, len(examples), self._batch_size)
        ]
        self._pool = [groups[place] for place in self._generator.permutation(len(groups))]
        self._pool_start, self._pool_end = start, start + len(examples)
        self._delivered = 0
