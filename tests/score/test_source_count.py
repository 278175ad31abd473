"""Notes of text files are counted by a second way; what a reader loses is reported as missing."""

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from rwkv_music.data import map_in_workers
from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.score.notation.source_count import count_kern_notes, count_musicxml_notes
from rwkv_music.score.text_formats import ReadRequest, parse_request
from rwkv_music.score.worker import READING_SECONDS
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
    differences: dict[str, int]
    """Notes missing or too many, by file."""


def notes_of(path: Path) -> tuple[int, int]:
    """Return the notes in the source of a file and those that were read."""
    loaded = parse_request(ReadRequest(path.read_bytes(), FORMATS[path.suffix]))
    assert loaded.notes_in_source is not None
    return loaded.notes_in_source, loaded.notes_read


def tally(files: list[Path]) -> Tally:
    with closing(map_in_workers(notes_of, files, seconds=READING_SECONDS)) as tasks:
        counted = {task.item.name: task.result for task in tasks}
    assert None not in counted.values(), counted
    pairs = {name: pair for name, pair in counted.items() if pair is not None}
    return Tally(
        len(pairs),
        sum(in_source for in_source, _ in pairs.values()),
        sum(read for _, read in pairs.values()),
        {name: source - read for name, (source, read) in pairs.items() if source != read},
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
    assert not counted.differences


@pytest.mark.long
@pytest.mark.parametrize("folder", FOLDERS)
def test_no_note_of_any_score_is_lost(folder: str, shared_data: Path) -> None:
    """Read all files of a folder in worker processes; run with -s to see the numbers."""
    counted = tally(sorted((shared_data / folder).rglob(FOLDERS[folder])))
    print(f"\n{folder}: {counted}")
    assert counted.files > 0
    assert not counted.differences
