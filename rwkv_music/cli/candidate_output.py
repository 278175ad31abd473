"""What `continue` and `fill` write: each candidate as MIDI, a report, and pictures if asked."""

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.atomic import write_atomic
from rwkv_music.cli.options import number
from rwkv_music.cli.paths import make_folder
from rwkv_music.cli.terminal import print_message, print_result
from rwkv_music.errors import InputError, write_errors

if TYPE_CHECKING:
    from rwkv_music.generation import Continuation, Filling
    from rwkv_music.model import MusicModel, Style

    Pieces = Sequence[Continuation | Filling]


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the folder to write to, and whether to draw pictures."""
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", type=Path, required=True, help="folder to write to"
    )
    parser.add_argument(
        "--pictures", action="store_true", help="draw a piano roll of each candidate as PNG"
    )


def add_style_options(parser: argparse.ArgumentParser) -> None:
    """Add styles and their weights."""
    parser.add_argument(
        "--style",
        nargs="+",
        default=[],
        metavar="FILE",
        help="styles made by rwkv-music tune; several are mixed",
    )
    parser.add_argument(
        "--style-weight",
        nargs="+",
        type=number,
        metavar="W",
        help="weight of each style: 1 as tuned, 0 off (default: equal weights that sum to 1)",
    )


def given_style(given: argparse.Namespace, model: "MusicModel") -> "Style | None":
    """Return the styles mixed into one; None without styles."""
    from rwkv_music.model import load_style, mix_styles

    if not given.style:
        if given.style_weight is not None:
            raise InputError("--style-weight without --style: name the style files too")
        return None
    return mix_styles([load_style(path, model) for path in given.style], given.style_weight)


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Make the folder before the work is done; remove it again if nothing was written to it."""
    is_new = not folder.exists()
    make_folder(folder)
    try:
        yield
    except BaseException:
        if is_new and not any(folder.iterdir()):
            folder.rmdir()
        raise


def write_candidates(
    pieces: "Pieces",
    prompt: Path,
    given: argparse.Namespace,
    *,
    bars: Sequence[int],
    settings: dict[str, Any],
) -> None:
    """Write the music, the report and the pictures, in this order: a full disk costs the last.

    Args:
        pieces: The candidates.
        prompt: The file that was continued or filled; the names of what is written begin with its.
        given: Says where to write, to a folder that exists, and whether to draw pictures.
        bars: Number of new bars of each candidate.
        settings: What the report says about the request.

    Raises:
        InputError: If a file cannot be written; it says how many candidates are kept.
    """
    folder: Path = given.output
    written: list[Path] = []
    try:
        with write_errors(folder):
            written.extend(_write_music(pieces, prompt, folder, bars, settings))
            if given.pictures:
                written.extend(_draw_pictures(pieces, prompt, folder))
    except InputError as error:
        music = [path for path in written if path.suffix == ".mid"]
        raise InputError(
            f"{error}; {len(music)} of {len(pieces)} candidates are kept in {folder}"
        ) from error
    print_message(f"listen with: rwkv-music play {written[0]}")


def _names(pieces: "Pieces", prompt: Path) -> list[str]:
    return [f"{prompt.stem}-{index}" for index in range(1, len(pieces) + 1)]


def _write_music(
    pieces: "Pieces", prompt: Path, folder: Path, bars: Sequence[int], settings: dict[str, Any]
) -> Iterator[Path]:
    """Write the candidates and the report, and yield each path once the file is complete."""
    from rwkv_music.score import save_score

    names = _names(pieces, prompt)
    for piece, name in zip(pieces, names, strict=True):
        path = folder / f"{name}.mid"
        save_score(piece.score, path)
        yield path
        print_result(f"{path}  {piece.new.note_num()} new notes, seed {piece.seed}")
    rows = [
        _report_row(piece, f"{name}.mid", num_bars)
        for piece, name, num_bars in zip(pieces, names, bars, strict=True)
    ]
    report = {"prompt": prompt.name, "settings": settings, "candidates": rows}
    path = folder / "report.json"
    write_atomic(path, (json.dumps(report, indent=1) + "\n").encode())
    yield path


def _draw_pictures(pieces: "Pieces", prompt: Path, folder: Path) -> Iterator[Path]:
    """Draw the candidates, and yield each path once the file is complete."""
    from rwkv_music.score import save_piano_roll

    for piece, name in zip(pieces, _names(pieces, prompt), strict=True):
        path = folder / f"{name}.png"
        save_piano_roll(piece.score, path, continuation_start=piece.continuation_start)
        yield path


def _report_row(piece: "Continuation | Filling", file_name: str, bars: int) -> dict[str, Any]:
    num_notes = piece.new.note_num()
    return {
        "file": file_name,
        "seed": piece.seed,
        "bars": bars,
        "notes": num_notes,
        "nats": round(piece.nats, 3),
        "nats_per_note": round(piece.nats / num_notes, 3) if num_notes else None,
    }
