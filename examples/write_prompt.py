"""Write prompt.mid: four bars in four parts, made for this project, that end on an open question.

    python examples/write_prompt.py [FOLDER]

Each part is a line of pitches with their duration in quarters; a half cadence in the last bar asks
for a continuation.
"""

import sys
from pathlib import Path

import symusic

from rwkv_music import save_score

TICKS_PER_QUARTER = 96
QUARTERS_PER_MINUTE = 84
CHURCH_ORGAN = 19

PARTS = {
    "Soprano": "C5 1 D5 1 E5 1 F5 1 | D5 1 E5 1 D5 2 | C5 1 A4 1 A4 1 B4 1 | C5 2 C5 1 D5 1",
    "Alto": "E4 1 D4 1 C4 1 C4 1 | B3 1 C4 1 B3 2 | C4 1 C4 1 D4 1 D4 1 | C4 2 C4 1 B3 1",
    "Tenor": "G3 1 G3 1 G3 1 F3 1 | G3 1 G3 1 G3 2 | E3 1 F3 1 F3 1 F3 1 | E3 2 F3 1 G3 1",
    "Bass": "C3 1 B2 1 C3 1 A2 1 | G2 1 C3 1 G2 2 | A2 1 F2 1 D3 1 G2 1 | C3 2 A2 1 G2 1",
}

SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def pitch_number(name: str) -> int:
    """Return the MIDI number of a pitch name; C4 is 60."""
    return 12 * (int(name[1:]) + 1) + SEMITONES[name[0]]


def part(name: str, line: str) -> symusic.Track:
    """One part from its line of pitches and durations."""
    track = symusic.Track(name, CHURCH_ORGAN, False)
    words = line.replace("|", " ").split()
    onset = 0
    for pitch, quarters in zip(words[::2], words[1::2], strict=True):
        duration = int(quarters) * TICKS_PER_QUARTER
        track.notes.append(symusic.Note(onset, duration, pitch_number(pitch), 80))
        onset += duration
    return track


def prompt() -> symusic.Score:
    """The four parts together, in 4/4."""
    score = symusic.Score(TICKS_PER_QUARTER)
    score.tempos.append(symusic.Tempo(0, qpm=QUARTERS_PER_MINUTE))
    score.time_signatures.append(symusic.TimeSignature(0, 4, 4))
    for name, line in PARTS.items():
        score.tracks.append(part(name, line))
    return score


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    print(save_score(prompt(), folder / "prompt.mid"))
