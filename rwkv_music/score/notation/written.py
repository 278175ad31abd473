"""Written music: what the readers of MusicXML and Humdrum collect before it becomes a score.

Moments are counted in units from the beginning of their measure, so that measures can be played in
another order than they are written.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from rwkv_music.score.notation.playing_order import MeasureMarks


class WrittenNote(NamedTuple):
    """One sounding note as written, before ties are joined."""

    onset: int
    """In units from the beginning of the measure."""
    end: int
    pitch: int
    """MIDI number."""
    velocity: int
    track: Hashable
    """Key of its track in `WrittenPart.tracks`."""
    voice: Hashable
    """Of several tied notes of one pitch, the one in the same voice is continued."""
    continues: bool = False
    """Whether it is tied to an earlier note."""
    is_continued: bool = False
    """Whether a later note is tied to it."""
    lyrics: tuple[str, ...] = ()
    """One text a verse."""
    has_long_tie: bool = False
    """Whether its ties may skip measures; they join only notes that are marked so."""


class TrackInfo(NamedTuple):
    """Name and sound of a track."""

    name: str
    program: int
    is_drum: bool


@dataclass
class WrittenPart:
    """A part (an instrument of one or more staves); ties are joined inside a part."""

    tracks: dict[Hashable, TrackInfo] = field(default_factory=dict)
    """In the order of the score."""
    notes: list[list[WrittenNote]] = field(default_factory=list)
    """Of each measure."""
    pedals: list[list[tuple[int, int]]] = field(default_factory=list)
    """Of each measure: onset and value (0 to 127) of the sustain pedal."""


class WrittenTempo(NamedTuple):
    """A tempo and whether it is meant for playback or only printed."""

    onset: int
    qpm: float
    is_played: bool


@dataclass
class WrittenMeasure:
    """A measure of all parts."""

    length: int = 0
    """In units."""
    marks: MeasureMarks = field(default_factory=MeasureMarks)
    tempos: list[WrittenTempo] = field(default_factory=list)
    times: list[tuple[int, int, int]] = field(default_factory=list)
    """Onset, numerator and denominator of time signatures; a numerator of 0 means free time."""
    keys: list[tuple[int, int, int]] = field(default_factory=list)
    """Onset, sharps (negative: flats) and 1 for minor."""
    markers: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class WrittenPiece:
    """All measures and parts of a piece."""

    units_per_quarter: int
    measures: list[WrittenMeasure] = field(default_factory=list)
    parts: list[WrittenPart] = field(default_factory=list)
