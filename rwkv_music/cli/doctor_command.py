"""`rwkv-music doctor`: what is in a folder of music, file by file."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.cli.options import (
    EXIT_INTERRUPTED,
    add_command,
    add_tokenizer_options,
    tokenizer_of,
)
from rwkv_music.cli.paths import make_folder, try_file, writing

if TYPE_CHECKING:
    from rwkv_music.data.doctor.folder_report import FolderReport


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Describe the command."""
    parser = add_command(
        commands,
        "doctor",
        run,
        summary="Examine every music file in FOLDER: one row a file, and what to do about it.",
        example="rwkv-music doctor midi/ --json report.json --pictures pictures/",
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="searched with its subfolders")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything there as well")
    parser.add_argument(
        "--pictures", metavar="FOLDER", type=Path, help="write pictures of the music there (PNG)"
    )
    add_tokenizer_options(parser)


def run(given: argparse.Namespace) -> int:
    """Examine the folder; after Ctrl-C, tell what is known so far."""
    from tqdm import tqdm

    from rwkv_music.data.doctor.folder_report import examine_files, folder_report
    from rwkv_music.data.doctor.report_text import summary_text, table_text
    from rwkv_music.data.scanning import find_files

    tokenizer = tokenizer_of(given)
    found = find_files(given.folder)
    _make_places(given)
    done = []
    code = 0
    try:
        with tqdm(total=len(found.music), desc="examining", unit="file") as bar:
            for file in examine_files(given.folder, found.music, tokenizer=tokenizer):
                done.append(file)
                bar.update()
    except KeyboardInterrupt:
        print("stopped by Ctrl-C; this is what is known so far", file=sys.stderr)
        code = EXIT_INTERRUPTED
    report = folder_report(given.folder, found, done)
    print(table_text(report), end="\n\n")
    print(summary_text(report))
    _write(report, given)
    return code


def _make_places(given: argparse.Namespace) -> None:
    """Try the places to write to, so that a wrong one is known before the work is done."""
    if given.json is not None:
        try_file(given.json, "--json")
    if given.pictures is not None:
        make_folder(given.pictures)


def _write(report: "FolderReport", given: argparse.Namespace) -> None:
    from rwkv_music.data.doctor.pictures import save_pictures

    if given.json is not None:
        text = json.dumps(report.as_dict(), indent=1, ensure_ascii=False) + "\n"
        with writing(given.json):
            given.json.write_text(text, encoding="utf-8")
    if given.pictures is not None:
        with writing(given.pictures):
            for path in save_pictures(report, given.pictures):
                print(path, file=sys.stderr)
