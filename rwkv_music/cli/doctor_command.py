"""`rwkv-music doctor`: report what every music file of a folder contains."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.atomic import write_atomic
from rwkv_music.cli.options import (
    EXIT_INTERRUPTED,
    add_command,
    add_tokenizer_options,
    add_unfold_option,
    tokenizer_of,
)
from rwkv_music.cli.paths import make_folder, try_file
from rwkv_music.cli.terminal import file_bar, print_message, print_result
from rwkv_music.errors import write_errors

if TYPE_CHECKING:
    from rwkv_music.data.doctor.folder_report import FolderReport


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Describe the command."""
    parser = add_command(
        commands,
        "doctor",
        run,
        summary="Report what every music file in FOLDER contains, and how to repair it.",
        example="rwkv-music doctor midi/ --json report.json --pictures pictures/",
    )
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, help="folder to search, subfolders included"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the report to FILE too")
    parser.add_argument(
        "--pictures", metavar="FOLDER", type=Path, help="write a piano roll of each file (PNG)"
    )
    add_unfold_option(parser)
    add_tokenizer_options(parser)


def run(given: argparse.Namespace) -> int:
    """Examine the folder; after Ctrl-C, report what is known so far."""
    from rwkv_music.data.doctor.folder_report import examine_files, folder_report
    from rwkv_music.data.doctor.report_text import summary_text, table_text
    from rwkv_music.data.scanning import find_files

    tokenizer = tokenizer_of(given)
    files = find_files(given.folder)
    _check_outputs(given)
    reports = []
    code = 0
    try:
        with file_bar("examining") as on_file:
            for file_report in examine_files(
                given.folder, files.music, tokenizer=tokenizer, unfold_repeats=given.unfold_repeats
            ):
                reports.append(file_report)
                on_file(len(reports), len(files.music), file_report.name)
    except KeyboardInterrupt:
        print_message("stopped by Ctrl-C; this is what is known so far")
        code = EXIT_INTERRUPTED
    report = folder_report(given.folder, files, reports)
    print_result(f"{table_text(report)}\n")
    print_result(summary_text(report))
    _write(report, given)
    return code


def _check_outputs(given: argparse.Namespace) -> None:
    """Refuse an output that cannot be written before the work is done."""
    if given.json is not None:
        try_file(given.json, "--json")
    if given.pictures is not None:
        make_folder(given.pictures)


def _write(report: "FolderReport", given: argparse.Namespace) -> None:
    from rwkv_music.data.doctor.pictures import save_pictures
    from rwkv_music.data.doctor.report_json import report_json

    if given.json is not None:
        with write_errors(given.json):
            write_atomic(given.json, report_json(report))
    if given.pictures is not None:
        with write_errors(given.pictures):
            for path in save_pictures(report, given.pictures):
                print_message(path)
