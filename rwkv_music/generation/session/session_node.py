"""A node of a session: a score, and what is new in it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import symusic


@dataclass(frozen=True)
class SessionNode:
    """A score in the tree, with the settings that produced it."""

    id: int
    parent: int | None
    score: "symusic.Score"
    continuation_start: int | None
    """Where the newest bars begin; None for the first prompt."""
    new: "symusic.Score | None" = None
    """The new music alone, beginning at tick 0."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Arguments of the call that generated it, its seed and nats."""
    end: int | None = None
    """Where bars that were written anew end; None if the new bars are the last ones."""

    @property
    def new_bars(self) -> tuple[int, int] | None:
        """First and last bar that were asked to be written anew, counted from 1; else None."""
        bars = self.settings.get("bars")
        return (int(bars[0]), int(bars[1])) if isinstance(bars, list | tuple) else None

    def to_row(self) -> dict[str, Any]:
        """Return what session.json says about the node."""
        row: dict[str, Any] = {
            "parent": self.parent,
            "continuation_start": self.continuation_start,
            "settings": self.settings,
        }
        if self.end is not None and self.new is not None:
            sounding = _sounding_tracks(self.score)
            written = [
                number for number, index in enumerate(sounding) if len(self.new.tracks[index].notes)
            ]
            row |= {"end": self.end, "tracks": written}
        return row

    @classmethod
    def from_row(cls, node_id: int, row: dict[str, Any], score: "symusic.Score") -> "SessionNode":
        """Return the node that `to_row` described."""
        start, end = row["continuation_start"], row.get("end")
        new = _new_music(score, start, end, row.get("tracks"))
        return cls(node_id, row["parent"], score, start, new, row["settings"], end)


def _new_music(
    score: "symusic.Score", start: int | None, end: int | None, tracks: list[int] | None
) -> "symusic.Score | None":
    """Return what begins between two ticks, in some tracks; None if there is nothing new."""
    from rwkv_music.score import bar_starts
    from rwkv_music.score.editing import take_ticks

    starts = bar_starts(score).tolist()
    if start is None or (end is None and start not in starts[:-1]):
        return None
    new = take_ticks(score, start, starts[-1] if end is None else end)
    if tracks is not None:
        sounding = _sounding_tracks(score)
        written = {sounding[number] for number in tracks if number < len(sounding)}
        clear_tracks(new, set(range(len(new.tracks))) - written)
    return new


def _sounding_tracks(score: "symusic.Score") -> list[int]:
    """Return the indices of the tracks with notes: MIDI files may lose the others."""
    return [index for index, track in enumerate(score.tracks) if len(track.notes)]


def clear_tracks(score: "symusic.Score", tracks: set[int]) -> None:
    """Remove the notes and controls of some tracks."""
    for index in tracks:
        score.tracks[index].notes.clear()
        score.tracks[index].controls.clear()
