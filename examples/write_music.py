"""Write the folder music/: short tunes made for this project, and the faults of real folders.

    python examples/write_music.py [FOLDER]

Six tunes with accompaniment; one of them again in another key, as in many collections; one file
with a fault that can be repaired, one that is too short to train on, one that is not music, and a
text file. The second notebook examines them with the data doctor.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import symusic

from rwkv_music import save_score
from rwkv_music.score import transpose

TICKS_PER_QUARTER = 96
FLUTE, VIOLIN, CLARINET, PIANO, HARP, GUITAR = 73, 40, 71, 0, 46, 24

SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
CHORDS = {
    "C": "C3 E3 G3", "F": "F2 A3 C4", "G": "G2 B3 D4", "Am": "A2 C4 E4", "Dm": "D3 F3 A3",
    "Em": "E3 G3 B3", "G7": "G2 B3 F4", "E": "E3 G#3 B3", "D": "D3 F#3 A3", "Bb": "Bb2 D4 F4",
}  # fmt: skip


class Tune(NamedTuple):
    """One chord per bar; a melody of pitches and durations in quarters, with | as bar line."""

    name: str
    signature: tuple[int, int]
    qpm: float
    program: int
    accompaniment: int
    chords: str
    melody: str


TUNES = (
    Tune(
        "barn dance", (2, 4), 112, VIOLIN, GUITAR, "C C F G C C G C Am Em F C Dm G7 G7 C",
        "G4 .5 C5 .5 C5 .5 D5 .5 | E5 .5 D5 .5 C5 1 | A4 .5 C5 .5 A4 .5 F4 .5 | G4 .5 B4 .5 D5 1 |"
        "G4 .5 C5 .5 C5 .5 D5 .5 | E5 .5 F5 .5 G5 1 | F5 .5 D5 .5 B4 .5 D5 .5 | C5 1 C5 1 |"
        "E5 .5 E5 .25 E5 .25 E5 .5 C5 .5 | B4 .5 G4 .5 E4 1 | F4 .5 A4 .5 C5 .5 A4 .5 | G4 1 E4 1 |"
        "F4 .5 G4 .5 A4 .5 F4 .5 | D5 .5 B4 .5 G4 1 | F4 .5 G4 .5 A4 .5 B4 .5 | C5 1.5 R .5",
    ),
    Tune(
        "ferry waltz", (3, 4), 138, CLARINET, PIANO, "Am Dm G C F Dm E E Am Dm G C F E Am Am",
        "E5 2 A4 1 | F5 2 E5 1 | D5 1 E5 1 D5 1 | C5 3 | A4 1 C5 1 F5 1 | E5 1 D5 1 C5 1 |"
        "B4 2 G#4 1 | E4 3 | E5 2 A4 1 | F5 2 A5 1 | G5 1 F5 1 D5 1 | E5 3 |"
        "F5 1 E5 1 D5 1 | C5 1 B4 1 G#4 1 | A4 3 | A4 2 R 1",
    ),
    Tune(
        "night watch", (4, 4), 66, FLUTE, HARP, "Dm Bb F C Dm G Dm Dm",
        "D5 1.5 E5 .5 F5 1 D5 1 | Bb4 2 C5 1 D5 1 | A4 3 C5 1 | G4 1 A4 1 Bb4 1 C5 1 |"
        "A4 1.5 G4 .5 F4 1 A4 1 | B4 1 D5 1 G4 2 | F4 1 E4 1 F4 1 G4 1 | D4 4",
    ),
    Tune(
        "market jig", (6, 8), 120, FLUTE, GUITAR, "C F C G C F G C Am F C G Am F G C",
        "E5 .5 C5 .5 E5 .5 G5 1 E5 .5 | F5 .5 E5 .5 F5 .5 A5 1.5 | G5 .5 E5 .5 C5 .5 E5 1 C5 .5 |"
        "D5 .5 B4 .5 G4 .5 D5 1.5 | E5 .5 C5 .5 E5 .5 G5 1 E5 .5 | F5 .5 G5 .5 F5 .5 A5 1 F5 .5 |"
        "G5 .5 F5 .5 D5 .5 B4 1 D5 .5 | C5 1.5 C5 1.5 | A5 1 E5 .5 C5 1 E5 .5 |"
        "F5 .5 E5 .5 D5 .5 C5 1 A4 .5 | G4 1 C5 .5 E5 1 C5 .5 | D5 .5 E5 .5 D5 .5 B4 1.5 |"
        "A5 1 E5 .5 C5 .5 D5 .5 E5 .5 | F5 1 A5 .5 F5 1 D5 .5 |"
        "G5 .5 F5 .5 D5 .5 B4 .5 A4 .5 B4 .5 | C5 2 R 1",
    ),
    Tune(
        "snow", (4, 4), 84, PIANO, PIANO, "C Em F C Am D G G C Em F E Am F G C",
        "G4 .5 C5 .5 E5 1 D5 .5 C5 .5 D5 1 | B4 2 G4 2 |"
        "A4 .5 C5 .5 F5 1 E5 .5 D5 .5 C5 1 | E5 3 R 1 |"
        "C5 .5 E5 .5 A5 1 G5 .5 E5 .5 C5 1 | D5 1 F#5 1 A4 2 | B4 1 C5 .5 D5 .5 G5 2 | D5 3 R 1 |"
        "G4 .5 C5 .5 E5 1 D5 .5 C5 .5 D5 1 | B4 2 E5 2 | F5 1 E5 .5 D5 .5 C5 1 A4 1 | B4 2 G#4 2 |"
        "A4 1 C5 1 E5 1 D5 1 | C5 1 A4 1 F4 2 | G4 1 A4 .5 B4 .5 D5 1 B4 1 | C5 4",
    ),
    Tune(
        "lantern march", (4, 4), 104, CLARINET, PIANO, "F C F Bb F C G C F C Dm Bb F C C F",
        "F4 1 A4 .75 A4 .25 C5 1 A4 1 | G4 1 C5 .75 C5 .25 E5 2 | F5 1 E5 .5 D5 .5 C5 1 A4 1 |"
        "Bb4 1 D5 1 F5 2 | A4 1 C5 .75 C5 .25 F5 1 C5 1 | E5 1 D5 .5 C5 .5 G4 2 |"
        "B4 1 D5 1 G5 1 F5 1 | E5 1 D5 1 C5 2 | F4 1 A4 .75 A4 .25 C5 1 A4 1 |"
        "G4 1 C5 .75 C5 .25 E5 2 | D5 1 A4 .5 D5 .5 F5 1 D5 1 | Bb4 1 F5 1 D5 2 |"
        "C5 1 A4 1 F4 1 A4 1 | G4 1 C5 .5 D5 .5 E5 2 | G5 1 E5 1 C5 1 E5 1 | F5 3 R 1",
    ),
)  # fmt: skip


def pitch_number(name: str) -> int:
    """Return the MIDI number of a pitch name; C4 is 60."""
    shift = name.count("#") - name[1:].count("b")
    return 12 * (int(name[-1]) + 1) + SEMITONES[name[0]] + shift


def score_of(tune: Tune) -> symusic.Score:
    """Return a score with the tune in one part and its chords in another."""
    numerator, denominator = tune.signature
    score = symusic.Score(TICKS_PER_QUARTER)
    score.tempos.append(symusic.Tempo(0, qpm=tune.qpm))
    score.time_signatures.append(symusic.TimeSignature(0, numerator, denominator))
    bar = 4 * TICKS_PER_QUARTER * numerator // denominator
    score.tracks.append(_melody(tune, bar))
    score.tracks.append(_accompaniment(tune, bar))
    return score


def _melody(tune: Tune, bar: int) -> symusic.Track:
    track = symusic.Track("Melody", tune.program, False)
    for bar_index, words in enumerate(text.split() for text in tune.melody.split("|")):
        onset = bar_index * bar
        for name, quarters in zip(words[::2], words[1::2], strict=True):
            duration = round(float(quarters) * TICKS_PER_QUARTER)
            if name != "R":
                velocity = 92 if onset == bar_index * bar else 80
                track.notes.append(symusic.Note(onset, duration, pitch_number(name), velocity))
            onset += duration
        if onset != (bar_index + 1) * bar:
            raise ValueError(
                f"bar {bar_index + 1} of {tune.name} has {onset - bar_index * bar} ticks"
            )
    return track


def _accompaniment(tune: Tune, bar: int) -> symusic.Track:
    """Return a bass note on the first beat and the other notes of the chord on the others."""
    track = symusic.Track("Chords", tune.accompaniment, False)
    beat = TICKS_PER_QUARTER if tune.signature[1] == 4 else 3 * TICKS_PER_QUARTER // 2
    for bar_index, chord in enumerate(tune.chords.split()):
        bass, *others = (pitch_number(name) for name in CHORDS[chord].split())
        for onset in range(bar_index * bar, (bar_index + 1) * bar, beat):
            for pitch in [bass] if onset == bar_index * bar else others:
                track.notes.append(symusic.Note(onset, beat, pitch, 64))
    return track


def write_music(folder: Path) -> None:
    """Write the tunes, and the files with faults."""
    scores = {tune.name: score_of(tune) for tune in TUNES}
    for name, score in scores.items():
        save_score(score, folder / f"{name}.mid")
    save_score(transpose(scores["snow"], 3), folder / "snow (for singers).mid")
    bell = symusic.Score(TICKS_PER_QUARTER)
    bell.tracks.append(symusic.Track("Bell", 14, False))
    bell.tracks[0].notes.append(symusic.Note(0, 2 * TICKS_PER_QUARTER, 76, 90))
    save_score(bell, folder / "bell.mid")
    # Some programs write velocities above 127.
    path = folder / "lantern march.mid"
    content = path.read_bytes()
    first = content.index(bytes((pitch_number("F4"), 92)))
    path.write_bytes(content[: first + 1] + bytes((200,)) + content[first + 2 :])
    (folder / "lost.mid").write_bytes(b"This file was music once.\n")
    (folder / "notes.txt").write_text("All tunes here were made for rwkv-music.\n", "utf-8")


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "music"
    write_music(folder)
    print(folder)
