"""The part of a batch that one of several processes loads.

Every process makes the same global batches, in the order in which a single process would make them,
and loads its own part. No part is read twice or left out, and a position of the loader means the
same for any number of processes.
"""

from collections.abc import Sequence
from typing import NamedTuple

from rwkv_music.data.loading.packing import balance


class ProcessShard(NamedTuple):
    """The part of each global batch that belongs to one process; by default all of it."""

    rank: int = 0
    """Rank of the process, counted from 0."""
    num_shards: int = 1
    """Number of processes."""

    def select(self, lengths: Sequence[int]) -> list[int]:
        """Return the items of this shard, which has about as many positions as the others.

        Args:
            lengths: Length of each item of the global batch.

        Returns:
            Indices in `lengths`, ascending; none if there are fewer items than shards.

        Example:
            >>> [ProcessShard(rank, 2).select([9, 2, 4, 3]) for rank in range(2)]
            [[0], [1, 2, 3]]
        """
        return sorted(balance(lengths, self.num_shards)[self.rank])

    def rows(self, batch_size: int) -> slice:
        """Return the rows of this shard, where all rows have the same length.

        Args:
            batch_size: Rows of the global batch, a multiple of the number of shards.
        """
        rows = batch_size // self.num_shards
        return slice(self.rank * rows, (self.rank + 1) * rows)


WHOLE_BATCH = ProcessShard()
