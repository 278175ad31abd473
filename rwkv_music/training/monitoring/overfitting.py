"""Signs that a model learns its music by heart: the held-out loss rises, or samples quote."""

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
_LOOKS = 2
_SHORTEST_QUOTE = 12
_PIECES_SEARCHED = 500


@dataclass
class EarlyStopping:
    """The lowest held-out loss, and how long ago that was."""

    loss: float = math.inf
    step: int = 0
    evaluations_since_best: int = 0

    def look(self, step: int, loss: float) -> bool:
        """Take a new held-out loss; True if it is the lowest."""
        if loss < self.loss:
            self.loss, self.step, self.evaluations_since_best = loss, step, 0
            return True
        self.evaluations_since_best += 1
        return False

    def warning(self, loss: float) -> str | None:
        """One sentence if the loss has been rising for two looks or more."""
        if self.evaluations_since_best < _LOOKS or loss < _RISE * self.loss:
            return None
        return (
            f"the held-out loss rises: {loss:.3f} after {self.loss:.3f} at step {self.step}, whose "
            "checkpoint is kept as the best; add music, raise dropout, or set early_stop"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return asdict(self)


class CopyDetector:
    """Looks for training phrases in samples, beside the composers' own completions.

    Args:
        pieces: The training pieces; of more than 500, evenly spaced ones are searched.
        tokenizer: The one that made them.
    """

    def __init__(self, pieces: Sequence[Piece], tokenizer: Tokenizer) -> None:
        searched = pieces[:: -(-len(pieces) // _PIECES_SEARCHED)]
        self._index = CopyIndex(tokenizer.decode(piece.ids) for piece in searched)

    def longest_run(self, score: "symusic.Score", continuation_start: int) -> int:
        """Notes in the longest run behind the seam that stands in a training piece, in any key."""
        return self._index.longest_shared_run(score, start_tick=continuation_start)

    @staticmethod
    def warning(longest: int, composers_own: int) -> str | None:
        """One sentence if a sample quotes far more than the composers of held-out pieces do.

        Args:
            longest: Notes in the samples' longest shared run.
            composers_own: The same figure for how the held-out pieces really go on.
        """
        if longest <= max(_SHORTEST_QUOTE, 2 * composers_own):
            return None
        return (
            f"a sample quotes {longest} notes in a row from a training piece (the composers of the "
            f"held-out pieces: {composers_own}); the model may be learning by heart"
        )
