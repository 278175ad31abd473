"""Whole pieces, read in stretches: the model's state goes from one batch to the next.

Each row reads piece after piece without a gap. A batch is the next stretch of every row, as long as
the context; a model that is handed the state it ended the last batch with has heard its pieces from
their beginning, however long they are, while gradients end at the stretch's own (truncated
backpropagation through time).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rwkv_music.data.loading.collate import Batch, TokenSpan, pack_rows
from rwkv_music.data.loading.completion_windows import Example
from rwkv_music.data.loading.process_shard import WHOLE_BATCH, ProcessShard
from rwkv_music.data.loading.window_loader import Augmentation
from rwkv_music.data.pieces import Piece
from rwkv_music.errors import InputError


class LongContextLoader(Iterator[Batch]):
    """Batches without end that go on from one another; an epoch reads every piece once.

    Every token but the first of a piece is scored. No position is padding.

    Args:
        pieces: What to read, each of at least two tokens.
        batch_size: Rows.
        context_length: Tokens of a row in one batch.
        seed: Fixes order and augmentation.
        augment: Applied to each piece with a generator of its own; None leaves them as they are.
        share: Which of the rows to lay out; the places are those of all rows.

    Raises:
        InputError: If there are no pieces, or a number is below 1.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        *,
        batch_size: int,
        context_length: int,
        seed: int,
        augment: Augmentation | None = None,
        share: ProcessShard = WHOLE_BATCH,
    ) -> None:
        for name, value in {"batch_size": batch_size, "context_length": context_length}.items():
            if value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
        self._pieces = [piece for piece in pieces if len(piece.ids) > 1]
        if not self._pieces:
            raise InputError(f"none of the {len(pieces)} pieces has two tokens: add longer ones")
        self._context_length = context_length
        self._seed = seed
        self._augment = augment
        self._mine = share.rows(batch_size)
        self._next = batch_size
        self._rows = [(number, 0) for number in range(batch_size)]
        self._known: dict[int, Example] = {}
        self._orders: dict[int, list[int]] = {}

    def __next__(self) -> Batch:
        """The next stretch of every row."""
        stretches = [self._advance(row) for row in range(len(self._rows))]
        in_use = {number for number, _ in self._rows}
        self._known = {number: self._known[number] for number in in_use & self._known.keys()}
        epochs = {number // len(self._pieces) for number in in_use}
        self._orders = {epoch: self._orders[epoch] for epoch in epochs & self._orders.keys()}
        return pack_rows(stretches[self._mine], continues=True)

    def position(self) -> dict[str, Any]:
        """Where the next batch comes from, in values that JSON holds.

        For each row the number of its piece, counted over all epochs, and the place in it.
        """
        return {"next": self._next, "rows": [list(row) for row in self._rows]}

    def seek(self, position: dict[str, Any]) -> None:
        """Go to a place that `position` told, of a stream with the same pieces and settings."""
        self._next = position["next"]
        self._rows = [(number, place) for number, place in position["rows"]]

    def _advance(self, row: int) -> list[TokenSpan]:
        """As many positions as the context is long, over as many pieces as it takes."""
        found: list[TokenSpan] = []
        room = self._context_length
        while room:
            number, start = self._rows[row]
            piece = self._piece(number)
            stop = min(start + room, len(piece.ids) - 1)
            found.append(TokenSpan(piece, start, stop))
            room -= stop - start
            self._rows[row] = (number, stop)
            if stop == len(piece.ids) - 1:
                self._rows[row] = (self._next, 0)
                self._next += 1
        return found

    def _piece(self, number: int) -> Example:
        """The piece of a number, counted over all epochs, each of which has its own order."""
        if number not in self._known:
            epoch, place = divmod(number, len(self._pieces))
            piece = self._pieces[self._order(epoch)[place]]
            example = Example(ids=piece.ids, completion_start=1)
            if self._augment is not None:
                generator = np.random.default_rng([self._seed, epoch, place])
                example = self._augment(example, generator)
            self._known[number] = example
        return self._known[number]

    def _order(self, epoch: int) -> list[int]:
        """The places of an epoch's pieces, drawn once and not for each piece."""
        if epoch not in self._orders:
            generator = np.random.default_rng([self._seed, epoch])
            self._orders[epoch] = generator.permutation(len(self._pieces)).tolist()
        return self._orders[epoch]
