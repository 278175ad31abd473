"""`rwkv-music doctor`: what is in a folder of music, file by file."""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.cli.options import add_command, add_tokenizer_options, tokenizer_of
from rwkv_music.errors import InputError

if TYPE_CHECKING:
    from rwkv_music.data.doctor import FolderReport

_EXIT_INTERRUPTED = 130


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

    from rwkv_music.data.doctor import examine_files, find_files, folder_report
    from rwkv_music.data.doctor_words import summary_text, table_text

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
        code = _EXIT_INTERRUPTED
    report = folder_report(given.folder, found, done)
    print(table_text(report), end="\n\n")
    print(summary_text(report))
    _write(report, given)
    return code


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be written ({error.strerror}): choose another place"
        ) from error


def _make_places(given: argparse.Namespace) -> None:
    """Make the folders to write into, so that a wrong one is known before the work is done."""
    with _writing():
        if given.json is not None:
            given.json.parent.mkdir(parents=True, exist_ok=True)
            if given.json.is_dir():
                raise InputError(f"{given.json} is a folder: give --json a file")
        if given.pictures is not None:
            given.pictures.mkdir(parents=True, exist_ok=True)


def _write(report: "FolderReport", given: argparse.Namespace) -> None:
    from rwkv_music.data.doctor_pictures import save_pictures

    with _writing():
        if given.json is not None:
            text = json.dumps(report.as_dict(), indent=1, ensure_ascii=False) + "\n"
            given.json.write_text(text, encoding="utf-8")
        if given.pictures is not None:
            for path in save_pictures(report, given.pictures):
                print(path, file=sys.stderr)
