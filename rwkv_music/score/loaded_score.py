"""Result of reading a music file: the score and what is known about the reading."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import symusic


class LoadedScore(NamedTuple):
    """A score and how it was read from its file."""

    score: "symusic.Score"
    repairs: tuple[str, ...] = ()
    """What was wrong with the file and has been repaired, a phrase each; mostly empty."""
    reader: str = ""
    """Name of the reader: "symusic", "rwkv-music" (our own readers) or "music21"."""
    notes_in_source: int | None = None
    """Sounding notes of the file, counted independently of the reader; None if not counted.

    Rests, grace notes, cue notes and the continuations of tied notes are not counted. Nor is
    anything if repeats are unfolded.
    """
    has_repeats: bool = False
    """Whether the file has repeats, endings or jumps that were not unfolded."""

    @property
    def notes_read(self) -> int:
        """Number of notes in the score."""
        return int(self.score.note_num())

    @property
    def notes_missing(self) -> int | None:
        """Notes of the source that are not in the score; negative if there are more than counted.

        None if the notes of the source were not counted.
        """
        return None if self.notes_in_source is None else self.notes_in_source - self.notes_read
