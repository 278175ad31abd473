"""`rwkv-music continue`: a MIDI file in, several continuations out."""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.atomic import write_atomic
from rwkv_music.cli.options import add_command, number, whole_number
from rwkv_music.cli.paths import make_folder
from rwkv_music.errors import InputError

if TYPE_CHECKING:
    from rwkv_music.generation import Continuation
    from rwkv_music.model import MusicModel, Style

_REPORTED = (
    "model", "style", "style_weight", "bars", "candidates", "temperature", "top_p", "top_k", "seed",
)  # fmt: skip
"""The arguments that report.json repeats."""


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Describe the command."""
    parser = add_command(
        commands,
        "continue",
        run,
        summary="Let a model continue PROMPT; write each candidate as MIDI and as a picture.",
        example="rwkv-music continue prompt.mid --bars 4 --candidates 3 --seed 7 -o out/",
    )
    parser.add_argument("prompt", metavar="PROMPT", type=Path, help="MIDI file to continue")
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", type=Path, required=True, help="where to write"
    )
    parser.add_argument(
        "--model",
        default="bach",
        metavar="NAME|PATH",
        help="a shipped model, a run directory or a checkpoint (default: %(default)s)",
    )
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
        help="one for each style: 1 is as it was tuned, 0 off (default: equal shares of 1)",
    )
    parser.add_argument(
        "--bars",
        type=whole_number(at_least=1),
        default=4,
        metavar="N",
        help="bars to add (default: %(default)s)",
    )
    parser.add_argument(
        "--candidates",
        type=whole_number(at_least=1),
        default=3,
        metavar="N",
        help="continuations to make (default: %(default)s)",
    )
    parser.add_argument(
        "--temperature",
        type=number(at_least=0),
        default=1.0,
        metavar="T",
        help="below 1 is safer, above 1 is wilder (default: %(default)s)",
    )
    parser.add_argument(
        "--top-p",
        type=number(above=0, at_most=1),
        default=0.95,
        metavar="P",
        help="sample from the likeliest tokens that add up to P (default: %(default)s)",
    )
    parser.add_argument(
        "--top-k",
        type=whole_number(at_least=1),
        metavar="K",
        help="sample from the K likeliest tokens only (default: all)",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(at_least=0),
        default=0,
        metavar="N",
        help="repeat an earlier result exactly (default: %(default)s)",
    )


def run(given: argparse.Namespace) -> int:
    """Continue the prompt and write candidates and report."""
    from rwkv_music.score import load_score

    prompt = load_score(given.prompt)
    from rwkv_music.generation import continue_score
    from rwkv_music.model import load_model

    model = load_model(given.model)
    style = _style(given, model)
    with _output_folder(given.output):
        pieces = continue_score(
            model,
            prompt,
            bars=given.bars,
            candidates=given.candidates,
            temperature=given.temperature,
            top_p=given.top_p,
            top_k=given.top_k,
            seed=given.seed,
            style=style,
        )
        _write(pieces, given)
    return 0


def _style(given: argparse.Namespace, model: "MusicModel") -> "Style | None":
    """The styles asked for as one; None if there are none."""
    from rwkv_music.model import load_style, mix_styles

    if not given.style:
        if given.style_weight is not None:
            raise InputError("--style-weight without --style: name the style files too")
        return None
    return mix_styles([load_style(path, model) for path in given.style], given.style_weight)


@contextmanager
def _output_folder(folder: Path) -> Iterator[None]:
    """Make the folder before any work is done for it; take it away if the work is refused."""
    made_here = not folder.exists()
    make_folder(folder)
    try:
        yield
    except InputError:
        if made_here:
            shutil.rmtree(folder)
        raise


def _write(pieces: "list[Continuation]", given: argparse.Namespace) -> None:
    from rwkv_music.score import save_piano_roll, save_score

    rows = []
    for place, piece in enumerate(pieces, start=1):
        path = given.output / f"{given.prompt.stem}-{place}.mid"
        save_score(piece.score, path)
        save_piano_roll(
            piece.score, path.with_suffix(".png"), continuation_start=piece.continuation_start
        )
        notes = piece.new.note_num()
        rows.append(
            {
                "file": path.name,
                "seed": piece.seed,
                "bars": given.bars,
                "notes": notes,
                "nats": round(piece.nats, 3),
                "nats_per_note": round(piece.nats / notes, 3) if notes else None,
            }
        )
        print(f"{path}  {notes} new notes, seed {piece.seed}")
    settings = {name: getattr(given, name) for name in _REPORTED}
    report = {"prompt": given.prompt.name, "settings": settings, "candidates": rows}
    write_atomic(given.output / "report.json", (json.dumps(report, indent=1) + "\n").encode())
    print(f"listen with: rwkv-music play {given.output / rows[0]['file']}", file=sys.stderr)
