"""Signs that a model memorizes its training music: rising held-out loss, or quoting samples."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rwkv_music.data import Piece
from rwkv_music.evaluation.copying import CopyIndex
from rwkv_music.tokenizer import Tokenizer

if TYPE_CHECKING:
    import symusic

_RISE = 1.01
_MIN_EVALUATIONS = 2
_SHORTEST_QUOTE = 12
_MAX_PIECES_SEARCHED = 500


@dataclass
class EarlyStopping:
    """The lowest held-out loss, and how long ago it was measured."""

    loss: float = math.inf
    step: int = 0
    evaluations_since_best: int = 0

    def update(self, step: int, loss: float) -> bool:
        """Add a held-out loss; return whether it is the lowest."""
        if loss < self.loss:
            self.loss, self.step, self.evaluations_since_best = loss, step, 0
            return True
        self.evaluations_since_best += 1
        return False

    def should_stop(self, patience: int) -> bool:
        """Return whether the loss has not improved for `patience` evaluations; 0 never stops."""
        return 0 < patience <= self.evaluations_since_best

    def warning(self, loss: float) -> str | None:
        """Return a warning if the loss has been rising for two evaluations or more."""
        if self.evaluations_since_best < _MIN_EVALUATIONS or loss < _RISE * self.loss:
            return None
        return (
            f"the held-out loss rises: {loss:.3f} after {self.loss:.3f} at step {self.step}, whose "
            "checkpoint is kept as the best; add music, raise `dropout`, or set "
            "`early_stopping_patience`"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return asdict(self)


class CopyDetector:
    """Find training phrases in samples.

    Args:
        pieces: The training pieces; of more than 500, evenly spaced ones are searched.
        tokenizer: The tokenizer of their ids.
    """

    def __init__(self, pieces: Sequence[Piece], tokenizer: Tokenizer) -> None:
        searched = pieces[:: -(-len(pieces) // _MAX_PIECES_SEARCHED)]
        self._index = CopyIndex(tokenizer.decode(piece.ids) for piece in searched)

    def longest_run(self, score: "symusic.Score", continuation_start: int) -> int:
        """Return the length of the longest continued run found in a training piece, in any key."""
        return self._index.longest_shared_run(score, start_tick=continuation_start)

    @staticmethod
    def warning(longest: int, composers_own: int) -> str | None:
        """Return a warning if a sample quotes far more than the held-out pieces themselves do.

        Args:
            longest: Notes in the samples' longest shared run.
            composers_own: The same for the composers' own continuations of the held-out prompts.
        """
        if longest <= max(_SHORTEST_QUOTE, 2 * composers_own):
            return None
        return (
            f"a sample quotes {longest} notes in a row from a training piece (the composers of the "
            f"held-out pieces: {composers_own}); the model may be memorizing"
        )
