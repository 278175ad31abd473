"""A folder report as JSON."""

import json
from typing import Any

from rwkv_music.data.doctor.folder_report import FolderReport
from rwkv_music.data.doctor.report_text import advice


def report_values(report: FolderReport) -> dict[str, Any]:
    """Return everything in a report as plain values."""
    return {
        "folder": report.folder,
        "advice": advice(report),
        "files": [
            {**file.as_dict(), "split": report.splits.get(file.name)} for file in report.files
        ],
        "ignored": dict(report.ignored),
        "not_examined": report.not_examined,
        "copies": report.copies,
        "near_duplicates": [pair._asdict() for pair in report.near_duplicates],
        "split_leaks": [leak._asdict() for leak in report.split_leaks],
        "store_leaks": [leak._asdict() for leak in report.store_leaks],
    }


def report_json(report: FolderReport) -> bytes:
    """Return everything in a report as JSON in UTF-8.

    Bytes of file names that are not UTF-8 become escapes, from which `json.loads` restores the
    names as `os.fsdecode` gives them.
    """
    text = json.dumps(report_values(report), indent=1, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")
