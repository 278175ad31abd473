"""Group notes for notation: chords in voices, split at bar lines."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import symusic


class Chord(NamedTuple):
    """Notes with the same onset and end; a rest if there are none."""

    onset: int
    end: int
    notes: "tuple[symusic.Note, ...]" = ()
    """In ascending order, each pitch once."""


class ChordSlice(NamedTuple):
    """The segment of a chord between two cuts."""

    chord: Chord
    onset: int
    end: int

    @property
    def is_last(self) -> bool:
        """Whether the chord ends here."""
        return self.end == self.chord.end


def voices(track: "symusic.Track") -> list[list[Chord]]:
    """Group notes into chords, and chords into the fewest voices without overlaps.

    Equal notes become separate chords, as do notes that begin with several lyrics, so that each
    lyric has a chord. Notes without duration are skipped.
    """
    sung = Counter(lyric.time for lyric in track.lyrics)
    together: dict[tuple[int, int, int], list[symusic.Note]] = {}
    before: Counter[tuple[int, ...]] = Counter()
    for note in track.notes:
        if note.duration:
            times = (note.time, note.time + note.duration)
            repeated = times if sung[note.time] > 1 else (*times, note.pitch)
            together.setdefault((*times, before[repeated]), []).append(note)
            before[repeated] += 1
    lines: list[list[Chord]] = []
    for (onset, end, _), notes in sorted(together.items(), key=lambda item: item[0]):
        chord = Chord(onset, end, tuple(sorted(notes, key=lambda note: note.pitch)))
        free = next((line for line in lines if line[-1].end <= onset), None)
        if free is None:
            lines.append([chord])
        else:
            free.append(chord)
    return lines


def with_rests(chords: Sequence[Chord], end: int) -> Iterator[Chord]:
    """Yield the chords of one voice, with rests between them and up to the end."""
    now = 0
    for chord in chords:
        if chord.onset > now:
            yield Chord(now, chord.onset)
        yield chord
        now = chord.end
    if end > now:
        yield Chord(now, end)


def cut(chords: Sequence[Chord], cuts: Sequence[int]) -> list[list[ChordSlice]]:
    """Split the chords of a voice into the segments between successive cuts.

    Args:
        chords: One voice with rests, from the first cut to the last.
        cuts: Ascending ticks.
    """
    cells: list[list[ChordSlice]] = []
    index = 0
    for since, until in pairwise(cuts):
        cell: list[ChordSlice] = []
        while index < len(chords) and chords[index].onset < until:
            chord = chords[index]
            cell.append(ChordSlice(chord, max(chord.onset, since), min(chord.end, until)))
            if chord.end > until:
                break
            index += 1
        cells.append(cell)
    return cells
