"""`rwkv-music continue`: continue a piece of music in several ways."""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.atomic import write_atomic
from rwkv_music.cli.options import (
    add_command,
    add_model_option,
    add_settings,
    given_settings,
    number,
)
from rwkv_music.cli.paths import make_folder
from rwkv_music.cli.terminal import print_message, print_result
from rwkv_music.errors import InputError, write_errors
from rwkv_music.generation.generation_settings import ContinuationSettings, SamplingSettings
from rwkv_music.settings import declared_settings

if TYPE_CHECKING:
    from rwkv_music.generation import Continuation
    from rwkv_music.model import MusicModel, Style

_REPORTED = (
    "model", "style", "style_weight", "bars", "candidates", "temperature", "top_p", "top_k", "seed",
)  # fmt: skip
"""Settings that report.json records."""


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Describe the command."""
    parser = add_command(
        commands,
        "continue",
        run,
        summary="Continue PROMPT with a model; write each candidate as MIDI and as a picture.",
        example="rwkv-music continue prompt.mid --bars 4 --candidates 3 --seed 7 -o out/",
    )
    parser.add_argument("prompt", metavar="PROMPT", type=Path, help="music file to continue")
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", type=Path, required=True, help="folder to write to"
    )
    add_model_option(parser)
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
        type=number(),
        metavar="W",
        help="weight of each style: 1 as tuned, 0 off (default: equal weights that sum to 1)",
    )
    parser.add_argument(
        "--unfold-repeats",
        action="store_true",
        help="play the repeats and endings of a notation file (default: as written)",
    )
    add_settings(parser, declared_settings(ContinuationSettings))
    add_settings(parser, declared_settings(SamplingSettings))


def run(given: argparse.Namespace) -> int:
    """Continue the prompt; write the candidates and a report."""
    from rwkv_music.score import load_score

    prompt = load_score(given.prompt, unfold_repeats=given.unfold_repeats)
    from rwkv_music.generation import continue_score
    from rwkv_music.model import load_model

    model = load_model(given.model)
    style = _style(given, model)
    amount = ContinuationSettings(**given_settings(given, declared_settings(ContinuationSettings)))
    sampling = SamplingSettings(**given_settings(given, declared_settings(SamplingSettings)))
    settings = {**asdict(amount), **asdict(sampling)}
    with _output_folder(given.output):
        pieces = continue_score(model, prompt, **settings, style=style)
        _write(pieces, given, settings)
    return 0


def _style(given: argparse.Namespace, model: "MusicModel") -> "Style | None":
    """Return the styles mixed into one; None without styles."""
    from rwkv_music.model import load_style, mix_styles

    if not given.style:
        if given.style_weight is not None:
            raise InputError("--style-weight without --style: name the style files too")
        return None
    return mix_styles([load_style(path, model) for path in given.style], given.style_weight)


@contextmanager
def _output_folder(folder: Path) -> Iterator[None]:
    """Make the folder before the work is done; remove it again if nothing was written to it."""
    is_new = not folder.exists()
    make_folder(folder)
    try:
        yield
    except BaseException:
        if is_new and not any(folder.iterdir()):
            folder.rmdir()
        raise


def _write(
    pieces: "list[Continuation]", given: argparse.Namespace, settings: dict[str, Any]
) -> None:
    """Write the music, the report and the pictures, in this order: a full disk costs the last."""
    names = [f"{given.prompt.stem}-{number}" for number in range(1, len(pieces) + 1)]
    written: list[Path] = []
    try:
        with write_errors(given.output):
            written.extend(_write_files(pieces, names, given, settings))
    except InputError as error:
        music = [path for path in written if path.suffix == ".mid"]
        raise InputError(
            f"{error}; {len(music)} of {len(pieces)} candidates are kept in {given.output}"
        ) from error
    print_message(f"listen with: rwkv-music play {written[0]}")


def _write_files(
    pieces: "list[Continuation]",
    names: list[str],
    given: argparse.Namespace,
    settings: dict[str, Any],
) -> Iterator[Path]:
    """Write every file, and yield its path once it is complete."""
    from rwkv_music.score import save_piano_roll, save_score

    for piece, name in zip(pieces, names, strict=True):
        path = given.output / f"{name}.mid"
        save_score(piece.score, path)
        yield path
        print_result(f"{path}  {piece.new.note_num()} new notes, seed {piece.seed}")
    reported = {name: {**vars(given), **settings}[name] for name in _REPORTED}
    rows = [
        _report_row(piece, f"{name}.mid", settings["bars"])
        for piece, name in zip(pieces, names, strict=True)
    ]
    report = {"prompt": given.prompt.name, "settings": reported, "candidates": rows}
    path = given.output / "report.json"
    write_atomic(path, (json.dumps(report, indent=1) + "\n").encode())
    yield path
    for piece, name in zip(pieces, names, strict=True):
        path = given.output / f"{name}.png"
        save_piano_roll(piece.score, path, continuation_start=piece.continuation_start)
        yield path


def _report_row(piece: "Continuation", file_name: str, bars: int) -> dict[str, Any]:
    num_notes = piece.new.note_num()
    return {
        "file": file_name,
        "seed": piece.seed,
        "bars": bars,
        "notes": num_notes,
        "nats": round(piece.nats, 3),
        "nats_per_note": round(piece.nats / num_notes, 3) if num_notes else None,
    }
