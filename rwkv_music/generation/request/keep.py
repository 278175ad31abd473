"""What of the old music stays where bars and parts are written anew."""

from collections.abc import Sequence
from dataclasses import dataclass

from rwkv_music.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Keep:
    """What of the old music stays in bars and parts that are written anew.

    Raises:
        InputError: If `share` is out of range, or the rhythm is kept together with notes.

    Example:
        >>> Keep(share=0.7)  # three of ten notes are written anew
        Keep(share=0.7, notes=(), rhythm=False)
    """

    share: float = 0.0
    """Share of the notes that stay, drawn anew for each seed."""
    notes: Sequence[tuple[int, int, int]] = ()
    """Notes that stay in any case: track, onset in ticks, pitch."""
    rhythm: bool = False
    """Whether all onsets, durations and velocities stay, so that only pitches are new."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError(f"share must be 0 to 1, got {self.share}")
        if self.rhythm and (self.share or self.notes):
            raise InputError("keep either the rhythm or notes: leave rhythm or the others out")
