"""Which part of a joint batch one of several processes reads.

Every process makes the same joint batches, in the order in which one process alone would make them,
and lays out its own part. So no part is read twice, none is left out, and a place in the stream
means the same however many processes there are.
"""

from collections.abc import Sequence
from typing import NamedTuple

from rwkv_music.data.loading.packing import balance


class ProcessShard(NamedTuple):
    """One of several parts of each joint batch; by default all of it."""

    rank: int = 0
    """Counted from 0."""
    number: int = 1
    """Parts in all."""

    def of(self, lengths: Sequence[int]) -> list[int]:
        """The places that belong to this part: about as many positions as to every other.

        Args:
            lengths: Of everything in the joint batch.

        Returns:
            Places in `lengths`, ascending; none if there are fewer things than parts.

        Example:
            >>> [Share(rank, 2).of([9, 2, 4, 3]) for rank in range(2)]
            [[0], [1, 2, 3]]
        """
        return sorted(balance(lengths, self.number)[self.rank])

    def rows(self, batch_size: int) -> slice:
        """The rows of this part, where every row has the same length.

        Args:
            batch_size: Rows of the joint batch, a multiple of the number of parts.
        """
        rows = batch_size // self.number
        return slice(self.rank * rows, (self.rank + 1) * rows)


WHOLE_BATCH = ProcessShard()
