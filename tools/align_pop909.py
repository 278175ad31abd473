"""Align the songs of POP909 with their bars: the training data of the shipped model `pop`.

    python tools/align_pop909.py POP909 music/pop909

POP909 is the folder of that data set with an `alignment.csv` of each song's downbeats. In the
original files, most songs are off the grid by a constant number of ticks, and their time signatures
are wrong (1/4 in most). This script shifts each song so that its downbeats are bar lines, and sets
its time signature. Songs stored in 4/4 are also copied unchanged to `as_stored/`, so that a model
also sees music that is not aligned with bar lines; both are in the same split.
"""

import argparse
import csv
import shutil
from pathlib import Path

import symusic

from rwkv_music.score import load_score, save_score

ALIGNMENT = "alignment.csv"
SAME_TUNES = frozenset({"018.mid", "666.mid", "805.mid"})
"""Songs that are in the set twice, under another number."""


def main() -> None:
    """Write every song with steady beats."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pop909", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    as_stored = given.output / "as_stored"
    as_stored.mkdir(parents=True, exist_ok=True)
    with (given.pop909 / ALIGNMENT).open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["file"] not in SAME_TUNES]
    steady = [row for row in rows if float(row["beats_on_that_phase"]) == 1]
    for row in steady:
        source = given.pop909 / row["file"]
        save_score(aligned(load_score(source), row), given.output / row["file"])
        if set(row["time_signatures"].split(";")) == {"4/4"}:
            shutil.copy(source, as_stored)
    print(f"{len(steady)} of {len(rows)} songs aligned, in {given.output}")


def aligned(score: symusic.Score, row: dict[str, str]) -> symusic.Score:
    """Return the song shifted by less than a bar, so that its first downbeat is a bar line."""
    beats = int(row["downbeat_period"])
    first = int(row["first_downbeat_tick"]) * score.ticks_per_quarter
    downbeat = first // int(row["ticks_per_quarter"])
    moved = score.shift_time(-downbeat % (beats * score.ticks_per_quarter))
    moved.tempos[0].time = 0
    moved.time_signatures = [symusic.TimeSignature(0, beats, 4)]
    return moved


if __name__ == "__main__":
    main()
