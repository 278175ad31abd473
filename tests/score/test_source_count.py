"""Notes of text files are counted by a second way; what a reader loses is reported as missing."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.score.notation.source_count import count_kern_notes, count_musicxml_notes
from rwkv_music.score.text_formats import ReadRequest, parse_request
from tests.music import tune
from tests.score.musicxml_documents import document, pitch, tie

FOLDERS = {
    "chopin_first_editions": "*.krn", "openscore_quartets": "*.mxl", "openscore_lieder": "*.mxl",
}  # fmt: skip
FORMATS = {".krn": "humdrum", ".mxl": "musicxml"}


class Tally(NamedTuple):
    """What was read of a folder."""

    files: int
    in_source: int
    read: int
    difference: int
    """Notes missing or too many, over all files."""
    seconds: float


def tally(files: Iterable[Path]) -> Tally:
    start = time.process_time()
    requests = (ReadRequest(path.read_bytes(), FORMATS[path.suffix]) for path in files)
    loaded = [parse_request(request) for request in requests]
    return Tally(
        len(loaded),
        sum(each.notes_in_source or 0 for each in loaded),
        sum(each.notes_read for each in loaded),
        sum(abs(each.notes_missing or 0) for each in loaded),
        time.process_time() - start,
    )


def test_missing_notes_are_the_difference() -> None:
    loaded = LoadedScore(tune(bars=1), notes_in_source=1000)
    assert loaded.notes_missing == 1000 - loaded.notes_read
    assert LoadedScore(tune(bars=1)).notes_missing is None


def test_musicxml_is_counted_without_rests_graces_cues_and_continuations() -> None:
    text = document(
        pitch("C4") + pitch("D4", before="<cue/>") + pitch("E4", before="<grace/>")
        + "<!-- " + pitch("F4") + " --><note><rest/><duration>4</duration></note>"
        + pitch("G4", 4, tie("start")) + pitch("G4", 4, tie("stop")) + pitch("A4", 4, tie("stop"))
    )  # fmt: skip
    assert count_musicxml_notes(text) == 3


def test_ties_are_counted_in_each_part_by_itself() -> None:
    first, second = (document(pitch("C4", 4, tie(kind))) for kind in ("start", "stop"))
    assert count_musicxml_notes(first + second) == 1
    assert count_musicxml_notes(first + second.replace('id="P1"', 'id="P2"')) == 2


def test_kern_is_counted_in_kern_columns_only() -> None:
    lines = (
        "**kern **text", "4c a", "* *", "*^ *", "[4d 4e~4g b", "8qd 4r .", "4d] . c", "*v *v *",
        "=2 =2", "!4a !", "4b e", "*- *-",
    )  # fmt: skip
    text = "\n".join(line.replace(" ", "\t").replace("~", " ") for line in lines)
    assert count_kern_notes(text) == 5


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_note_of_other_peoples_scores_is_lost(folder: str, shared_data: Path) -> None:
    files = list((shared_data / folder).rglob(FOLDERS[folder]))
    files.sort(key=lambda path: path.stat().st_size)
    counted = tally(files[10:12])
    assert counted.files > 0
    assert counted.in_source > 100 * counted.files
    assert counted.difference == 0, counted


@pytest.mark.long
def test_no_note_of_any_score_is_lost(shared_data: Path) -> None:
    """Prints a line a folder: run with -s to see it."""
    for folder, pattern in FOLDERS.items():
        counted = tally(sorted((shared_data / folder).rglob(pattern)))
        print(f"\n{folder}: {counted}")
        assert counted.difference == 0
