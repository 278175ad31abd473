"""`rwkv-music fill`: write bars and parts of a piece anew."""

import argparse
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rwkv_music.cli.candidate_output import add_output_options, add_style_options
from rwkv_music.cli.options import (
    add_command,
    add_model_option,
    add_settings,
    add_unfold_option,
    given_settings,
)
from rwkv_music.cli.request_options import (
    add_constraint_options,
    add_control_options,
    given_constraints,
    given_controls,
)
from rwkv_music.cli.writing import add_draw_option, add_parts_option, given_parts, write_request
from rwkv_music.generation.request.generation_settings import ContinuationSettings, SamplingSettings
from rwkv_music.settings import declared_settings

_BARS = re.compile(r"(\d+)(?:-(\d+))?")
_AMOUNT = [
    declared for declared in declared_settings(ContinuationSettings) if declared.name != "bars"
]


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Describe the command."""
    parser = add_command(
        commands,
        "fill",
        run,
        summary="Write bars or parts of PIECE anew; all else stays as it is. Write each version as "
        "MIDI. Ctrl-C keeps the bars that are complete.",
        example="rwkv-music fill song.mid --bars 5-8 --parts Bass --candidates 4 -o out/",
    )
    parser.add_argument("piece", metavar="PIECE", type=Path, help="music file")
    parser.add_argument(
        "--bars",
        type=_bars,
        required=True,
        metavar="FIRST-LAST",
        help="bars to write, counted from 1, both included; at most 8",
    )
    add_parts_option(parser)
    add_unfold_option(parser)
    add_output_options(parser)
    add_model_option(parser)
    add_style_options(parser)
    add_settings(parser, _AMOUNT)
    add_draw_option(parser)
    add_settings(parser, declared_settings(SamplingSettings))
    add_constraint_options(parser)
    add_control_options(parser)


def run(given: argparse.Namespace) -> int:
    """Fill the piece; write the versions and a report."""
    from rwkv_music.score import load_score

    score = load_score(given.piece, unfold_repeats=given.unfold_repeats)
    from rwkv_music.generation import Request
    from rwkv_music.model import load_model

    model = load_model(given.model)
    amount = ContinuationSettings(**given_settings(given, _AMOUNT))
    sampling = SamplingSettings(**given_settings(given, declared_settings(SamplingSettings)))
    settings = {"candidates": amount.candidates, "seed": amount.seed, **asdict(sampling)}
    parts = given_parts(given)
    request = Request(
        bars=given.bars,
        parts=parts,
        controls=given_controls(given),
        constraints=given_constraints(given),
        **settings,
    )
    reported = {**settings, "bars": list(given.bars), "parts": parts, "model": given.model}
    return write_request(model, score, request, given, source=given.piece, settings=reported)


def _bars(text: str) -> tuple[int, int]:
    """Return the first and last bar of "5-8", or of "5"."""
    match = _BARS.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(
            f"must be the first and last bar, such as 5-8, got '{text}'"
        )
    return int(match[1]), int(match[2] or match[1])
