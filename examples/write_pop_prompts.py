"""Write the five example prompts of the model `pop`: piano music, made for this project.

    python examples/write_pop_prompts.py [FOLDER]

Each has four bars and the parts of a pop song arranged for piano: the melody, a bridge that answers
it, and the accompaniment. None of them closes, so that a continuation can follow.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import symusic
from pretty_midi import note_name_to_number

from rwkv_music import save_score

TICKS_PER_QUARTER = 96
BAR = 4 * TICKS_PER_QUARTER

PROMPTS = Path(__file__).resolve().parents[1] / "rwkv_music" / "prompts"

Pattern = tuple[tuple[float, float, str], ...]
"""Onset in the bar and duration in quarters, and indices of the chord's notes from the lowest."""

BROKEN: Pattern = tuple((i / 2, 0.5, note) for i, note in enumerate("01232321"))
PULSE: Pattern = ((0, 1, "0"), (0.5, 0.5, "123"), (1.5, 0.5, "123"), (2, 1, "0"), (2.5, 1, "123"))
BLOCKS: Pattern = ((0, 2, "0123"), (2, 1, "123"), (3, 1, "0"))
SWAYING: Pattern = ((0, 3, "0"), (1, 1, "12"), (2, 1, "13"), (3, 1, "12"))
OFFBEAT: Pattern = tuple((i / 2, 0.5, "123" if i % 2 else "0") for i in range(8))


class Song(NamedTuple):
    """Parts as pitches and durations in quarters, with R as rest and | as bar line."""

    name: str
    qpm: float
    pattern: Pattern
    chords: str
    melody: str
    bridge: str


SONGS = (
    Song(
        "ballad", 72, BROKEN, "C3 G3 C4 E4 | A2 E3 A3 C4 | F2 C3 A3 C4 | G2 D3 G3 B3",
        "E5 1.5 G5 .5 G5 1 A5 1 | C6 1.5 B5 .5 A5 2 | A5 .75 G5 .25 F5 1 E5 1 D5 1 | D5 3 E5 1",
        "R 4 | R 2 E5 1 C5 1 | R 4 | G4 1 B4 1 D5 2",
    ),
    Song(
        "night drive", 108, PULSE, "A2 C4 E4 A4 | F2 C4 F4 A4 | C3 C4 E4 G4 | G2 B3 D4 G4",
        "A4 .5 C5 .5 E5 1 R .5 D5 .5 C5 1 | A4 .5 C5 .5 F5 1 E5 .5 D5 .5 C5 1 |"
        "G4 .5 C5 .5 E5 1.5 G5 .5 E5 1 | D5 1.5 B4 .5 G4 1 B4 1",
        "R 2 A5 .5 G5 .5 E5 1 | R 4 | R 3 C6 1 | B5 .5 A5 .5 G5 1 D5 2",
    ),
    Song(
        "lullaby", 66, SWAYING, "F2 C4 F4 A4 | Bb2 D4 F4 Bb4 | C3 C4 E4 G4 | F2 C4 F4 A4",
        "C5 2 A5 1 G5 1 | F5 3 D5 1 | E5 1 F5 1 G5 1 Bb5 1 | A5 4",
        "R 4 | R 1 Bb5 1 F5 2 | R 4 | R 1 C6 1 A5 1 F5 1",
    ),
    Song(
        "lantern", 84, BLOCKS, "D3 A3 D4 F4 | Bb2 F3 Bb3 D4 | G2 D3 Bb3 D4 | A2 E3 A3 C#4",
        "D5 1 E5 .5 F5 .5 A5 2 | G5 1 F5 .5 E5 .5 F5 2 | D5 1 G5 .5 A5 .5 Bb5 1.5 A5 .5 | E5 3 R 1",
        "R 4 | R 2 D5 .5 C5 .5 Bb4 1 | R 4 | A4 .5 C#5 .5 E5 .5 G5 .5 E5 2",
    ),
    Song(
        "skipping", 120, OFFBEAT, "G2 B3 D4 G4 | D3 A3 D4 F#4 | E3 B3 E4 G4 | C3 C4 E4 G4",
        "B4 .5 D5 .5 G5 .5 B5 1 A5 .5 G5 1 | A5 1 F#5 .5 D5 1.5 R 1 |"
        "G5 .5 G5 .5 F#5 .5 E5 1 B4 .5 E5 1 | E5 .5 D5 .5 C5 .5 D5 1.5 R 1",
        "R 4 | R 2.5 A4 .5 D5 .5 F#5 .5 | R 4 | R 2.5 G4 .5 C5 .5 E5 .5",
    ),
)  # fmt: skip


def part_of(name: str, words: str, velocity: int) -> symusic.Track:
    """Return a part; the first note of each bar is slightly louder."""
    track = symusic.Track(name, 0, False)
    for bar_index, bar in enumerate(words.split("|")):
        onset = bar_index * BAR
        pairs = bar.split()
        for pitch, quarters in zip(pairs[::2], pairs[1::2], strict=True):
            duration = round(float(quarters) * TICKS_PER_QUARTER)
            if pitch != "R":
                loud = velocity + 8 * (onset == bar_index * BAR)
                track.notes.append(symusic.Note(onset, duration, note_name_to_number(pitch), loud))
            onset += duration
        if onset != (bar_index + 1) * BAR:
            raise ValueError(
                f"bar {bar_index + 1} of '{words}' has {onset - bar_index * BAR} ticks"
            )
    return track


def accompaniment(chords: str, pattern: Pattern) -> symusic.Track:
    """Return the chords of all bars, played in the pattern."""
    track = symusic.Track("PIANO", 0, False)
    for bar_index, chord in enumerate(chords.split("|")):
        pitches = [note_name_to_number(name) for name in chord.split()]
        for onset, quarters, note_indices in pattern:
            start = bar_index * BAR + round(onset * TICKS_PER_QUARTER)
            duration = round(quarters * TICKS_PER_QUARTER)
            for note in note_indices:
                loud = 72 if note == "0" else 62
                track.notes.append(symusic.Note(start, duration, pitches[int(note)], loud))
    return track


def score_of(song: Song) -> symusic.Score:
    """Return the three parts as a score in 4/4."""
    score = symusic.Score(TICKS_PER_QUARTER)
    score.tempos.append(symusic.Tempo(0, qpm=song.qpm))
    score.time_signatures.append(symusic.TimeSignature(0, 4, 4))
    score.tracks.append(part_of("MELODY", song.melody, 88))
    score.tracks.append(part_of("BRIDGE", song.bridge, 74))
    score.tracks.append(accompaniment(song.chords, song.pattern))
    return score


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PROMPTS
    for song in SONGS:
        print(save_score(score_of(song), folder / f"{song.name}.mid"))
