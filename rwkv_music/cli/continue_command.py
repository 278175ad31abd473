"""`rwkv-music continue`: continue a piece of music in several ways."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rwkv_music.cli.candidate_output import (
    add_output_options,
    add_style_options,
    given_style,
    output_folder,
    write_candidates,
)
from rwkv_music.cli.options import add_command, add_model_option, add_settings, given_settings
from rwkv_music.cli.request_options import add_constraint_options, given_constraints
from rwkv_music.generation.generation_settings import ContinuationSettings, SamplingSettings
from rwkv_music.settings import declared_settings

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
    add_output_options(parser)
    add_model_option(parser)
    add_style_options(parser)
    parser.add_argument(
        "--unfold-repeats",
        action="store_true",
        help="play the repeats and endings of a notation file (default: as written)",
    )
    add_settings(parser, declared_settings(ContinuationSettings))
    add_settings(parser, declared_settings(SamplingSettings))
    add_constraint_options(parser)


def run(given: argparse.Namespace) -> int:
    """Continue the prompt; write the candidates and a report."""
    from rwkv_music.score import load_score

    prompt = load_score(given.prompt, unfold_repeats=given.unfold_repeats)
    from rwkv_music.generation import continue_score
    from rwkv_music.model import load_model

    model = load_model(given.model)
    amount = ContinuationSettings(**given_settings(given, declared_settings(ContinuationSettings)))
    sampling = SamplingSettings(**given_settings(given, declared_settings(SamplingSettings)))
    settings = {**asdict(amount), **asdict(sampling)}
    reported = {name: {**vars(given), **settings}[name] for name in _REPORTED}
    with output_folder(given.output):
        pieces = continue_score(
            model,
            prompt,
            style=given_style(given, model),
            constraints=given_constraints(given),
            **settings,
        )
        write_candidates(
            pieces, given.prompt, given.output, bars=settings["bars"], settings=reported
        )
    return 0
