"""The loader of whole pieces in consecutive batches, between which the model's state is carried.

Each row reads piece after piece without a gap. A batch is the next span of every row, as long as
the context. A model that continues from its state after the previous batch has read its pieces from
the beginning, whatever their length; gradients end at the beginning of the span (truncated
backpropagation through time).
"""

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from rwkv_music.data.loading.collate import Batch, TokenSpan, pack_rows
from rwkv_music.data.loading.completion_windows import Example
from rwkv_music.data.loading.process_shard import WHOLE_BATCH, ProcessShard
from rwkv_music.data.loading.window_loader import Augmentation
from rwkv_music.data.pieces import Piece
from rwkv_music.errors import InputError


@dataclass(eq=False)
class LongContextLoader(Iterator[Batch]):
    """Endless batches, each of which continues the previous one; an epoch reads every piece once.

    Every token except the first of a piece is scored. There is no padding.

    Raises:
        InputError: If there are no pieces, or a number is below 1.
    """

    pieces: Sequence[Piece]
    """The pieces. Those of fewer than two tokens are left out."""
    _: KW_ONLY
    batch_size: int
    """Rows per batch."""
    context_length: int
    """Tokens per row."""
    seed: int
    """Seed of order and augmentation."""
    augment: Augmentation | None = None
    """Applied to each piece with a generator of its own; None for no augmentation."""
    shard: ProcessShard = WHOLE_BATCH
    """Part of the rows to load. Positions refer to all rows."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "context_length"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        num_pieces = len(self.pieces)
        self.pieces = [piece for piece in self.pieces if len(piece.ids) > 1]
        if not self.pieces:
            raise InputError(f"none of the {num_pieces} pieces has two tokens: add longer ones")
        self._next = self.batch_size
        self._rows = [(serial, 0) for serial in range(self.batch_size)]
        self._examples: dict[int, Example] = {}
        self._orders: dict[int, list[int]] = {}

    def __next__(self) -> Batch:
        """Return the next span of every row."""
        rows = [self._advance(row) for row in range(len(self._rows))]
        in_use = {serial for serial, _ in self._rows}
        self._examples = {
            serial: self._examples[serial] for serial in in_use & self._examples.keys()
        }
        epochs = {serial // len(self.pieces) for serial in in_use}
        self._orders = {epoch: self._orders[epoch] for epoch in epochs & self._orders.keys()}
        return pack_rows(rows[self.shard.rows(self.batch_size)], continues=True)

    def position(self) -> dict[str, Any]:
        """Return the position of the next batch in JSON values.

        For each row the serial number of its piece, counted over all epochs, and the token in it.
        """
        return {"next": self._next, "rows": [list(row) for row in self._rows]}

    def seek(self, position: dict[str, Any]) -> None:
        """Go to a `position` of a loader with the same pieces and settings."""
        self._next = position["next"]
        self._rows = [(serial, token) for serial, token in position["rows"]]

    def _advance(self, row: int) -> list[TokenSpan]:
        """Return spans of one context length in total, over as many pieces as needed."""
        spans: list[TokenSpan] = []
        remaining = self.context_length
        while remaining:
            serial, start = self._rows[row]
            example = self._example(serial)
            last = len(example.ids) - 1
            stop = min(start + remaining, last)
            spans.append(TokenSpan(example, start, stop))
            remaining -= stop - start
            self._rows[row] = (serial, stop)
            if stop == last:
                self._rows[row] = (self._next, 0)
                self._next += 1
        return spans

    def _example(self, serial: int) -> Example:
        """Return the piece with a serial number, counted over epochs of different order."""
        if serial not in self._examples:
            epoch, index = divmod(serial, len(self.pieces))
            piece = self.pieces[self._order(epoch)[index]]
            example = Example(ids=piece.ids, completion_start=1)
            if self.augment is not None:
                generator = np.random.default_rng([self.seed, epoch, index])
                example = self.augment(example, generator)
            self._examples[serial] = example
        return self._examples[serial]

    def _order(self, epoch: int) -> list[int]:
        """Return the order of an epoch's pieces, which is drawn once per epoch."""
        if epoch not in self._orders:
            generator = np.random.default_rng([self.seed, epoch])
            self._orders[epoch] = generator.permutation(len(self.pieces)).tolist()
        return self._orders[epoch]
