"""Put the songs of POP909 on their bars: what the shipped model `pop` is trained on.

    python tools/pop909_on_bars.py POP909 music/pop909

POP909 is a folder of that set with an `alignment.csv` that tells each song's downbeats. As stored,
most songs lie beside the grid by a constant number of ticks, and their time signatures are wrong
(1/4 in most). Here each song is moved so that a bar begins on its downbeats, and given the one time
signature of its beats. Songs stored in 4/4 are kept as they are too, under `as_stored/`, so that a
model also meets music that does not keep to the bar lines; training holds out both or none of them.
"""

import argparse
import csv
import shutil
from pathlib import Path

import symusic

from rwkv_music.score import load_score, save_score

ALIGNMENT = "alignment.csv"
SAME_TUNES = frozenset({"018.mid", "666.mid", "805.mid"})
"""Songs that stand in the set a second time, under another number."""


def main() -> None:
    """Write every song of the set that has steady beats."""
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
        save_score(on_its_bars(load_score(source), row), given.output / row["file"])
        if set(row["time_signatures"].split(";")) == {"4/4"}:
            shutil.copy(source, as_stored)
    print(f"{len(steady)} of {len(rows)} songs put on their bars, in {given.output}")


def on_its_bars(score: symusic.Score, row: dict[str, str]) -> symusic.Score:
    """The song moved later by less than a bar, so that a bar begins on its first downbeat."""
    beats = int(row["downbeat_period"])
    first = int(row["first_downbeat_tick"]) * score.ticks_per_quarter
    downbeat = first // int(row["ticks_per_quarter"])
    moved = score.shift_time(-downbeat % (beats * score.ticks_per_quarter))
    moved.tempos[0].time = 0
    moved.time_signatures = [symusic.TimeSignature(0, beats, 4)]
    return moved


if __name__ == "__main__":
    main()
