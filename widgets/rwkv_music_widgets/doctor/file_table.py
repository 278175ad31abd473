"""Table of the files of a folder."""

from typing import Any

import anywidget
import traitlets

from rwkv_music.data.doctor.file_report import FileReport
from rwkv_music.data.doctor.folder_report import FolderReport
from rwkv_music.data.doctor.report_text import remarks_of, row_of
from rwkv_music_widgets.bundle import bundled, style_sheet

COLUMNS = (
    ("Verdict", "fine, repaired while reading, or skipped"),
    ("File", "with what there is to say about it"),
    ("Bars", "bars in it"),
    ("Notes", "notes that were read"),
    ("Missing", "notes of the file that were not read"),
    ("Parts", "parts with notes"),
    ("Tempo", "quarters per minute, from the slowest to the fastest"),
    ("Signatures", "time signatures, in order of appearance"),
    ("moved ms", "99 of 100 notes begin within this of where they did, as tokens"),
    ("most ms", "the note that moves most, as tokens"),
    ("Tokens/note", "tokens that the model reads for a note"),
    ("Read by", "the library that read it"),
    ("Split", "whether training learns from it or tests with it"),
)
_VERDICTS = ("fine", "repaired", "skipped")
_SPLIT_TEXTS = {"training": "learn", "validation": "test", "": "-"}


class FileTable(anywidget.AnyWidget):
    """Files of a folder: can be sorted, filtered by verdict, and selected one at a time."""

    _esm = bundled("file_table.mjs")
    _css = style_sheet("file_table.css")

    columns: traitlets.List[Any] = traitlets.List().tag(sync=True)
    verdicts: traitlets.List[Any] = traitlets.List(list(_VERDICTS)).tag(sync=True)
    rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
    selected = traitlets.Unicode("").tag(sync=True)

    def __init__(self) -> None:
        super().__init__(columns=[{"title": title, "help": text} for title, text in COLUMNS])

    def show(self, report: FolderReport) -> None:
        """Show the files of a report."""
        remarks, splits = remarks_of(report), report.splits
        with self.hold_sync():
            self.selected = ""
            self.rows = [
                _row(file, remarks[file.name], splits.get(file.name, "")) for file in report.files
            ]


def _row(file: FileReport, remarks: list[str], split: str) -> dict[str, Any]:
    """Return the texts of a row and the values by which it is sorted."""
    verdict, *figures, name = row_of(file)
    signatures = ", ".join(file.time_signatures) or None
    return {
        "name": name,
        "verdict": verdict,
        "remarks": remarks,
        "texts": [verdict, name, *figures, _SPLIT_TEXTS[split]],
        "values": [
            verdict, name, file.bars, file.notes, file.notes_missing, file.parts, file.slowest_qpm,
            signatures, file.onset_p99_ms, file.onset_max_ms, file.tokens_per_note,
            file.reader or None, split or None,
        ],
    }  # fmt: skip
