"""`rwkv-music continue`: continue a piece of music in several ways."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.cli.candidate_output import add_output_options, add_style_options
from rwkv_music.cli.options import (
    add_command,
    add_model_option,
    add_settings,
    add_unfold_option,
    given_settings,
    whole_number,
)
from rwkv_music.cli.request_options import (
    add_constraint_options,
    add_control_options,
    given_constraints,
    given_controls,
)
from rwkv_music.cli.writing import (
    add_draw_option,
    add_parts_option,
    given_parts,
    write_request,
)
from rwkv_music.errors import InputError
from rwkv_music.generation.request.generation_settings import ContinuationSettings, SamplingSettings
from rwkv_music.settings import declared_settings

if TYPE_CHECKING:
    import symusic

_REPORTED = (
    "model", "style", "style_weight", "bars", "candidates", "temperature", "top_p", "top_k", "seed",
    "parts",
)  # fmt: skip
"""Settings that report.json records."""


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Describe the command."""
    parser = add_command(
        commands,
        "continue",
        run,
        summary="Continue PROMPT with a model; write each candidate as MIDI. Ctrl-C keeps the bars "
        "that are complete.",
        example="rwkv-music continue prompt.mid --bars 4 --candidates 3 --seed 7 -o out/",
    )
    parser.add_argument("prompt", metavar="PROMPT", type=Path, help="music file to continue")
    add_output_options(parser)
    add_model_option(parser)
    add_style_options(parser)
    add_unfold_option(parser)
    parser.add_argument(
        "--prompt-bars",
        nargs=2,
        type=whole_number(at_least=1),
        metavar=("FIRST", "LAST"),
        help="bars of PROMPT to continue, counted from 1 (default: all)",
    )
    add_parts_option(parser)
    add_settings(parser, declared_settings(ContinuationSettings))
    add_draw_option(parser)
    add_settings(parser, declared_settings(SamplingSettings))
    add_constraint_options(parser)
    add_control_options(parser)


def run(given: argparse.Namespace) -> int:
    """Continue the prompt; write the candidates and a report."""
    from rwkv_music.score import load_score

    prompt = load_score(given.prompt, unfold_repeats=given.unfold_repeats)
    if given.prompt_bars:
        prompt = _chosen_bars(prompt, *given.prompt_bars)
    from rwkv_music.generation import Request
    from rwkv_music.model import load_model

    amount = ContinuationSettings(**given_settings(given, declared_settings(ContinuationSettings)))
    sampling = SamplingSettings(**given_settings(given, declared_settings(SamplingSettings)))
    settings = {**asdict(amount), **asdict(sampling)}
    reported = {name: {**vars(given), **settings}[name] for name in _REPORTED}
    model = load_model(given.model)
    parts, controls = given_parts(given), given_controls(given)
    request = Request(
        **settings, parts=parts, controls=controls, constraints=given_constraints(given)
    )
    return write_request(model, prompt, request, given, source=given.prompt, settings=reported)


def _chosen_bars(prompt: "symusic.Score", first: int, last: int) -> "symusic.Score":
    """Return bars of the prompt, counted from 1, both included."""
    from rwkv_music.score import num_bars, take_bars

    bars = num_bars(prompt)
    if not first <= last <= bars:
        raise InputError(
            f"`prompt_bars` are {first} to {last}, but the prompt has the bars 1 to {bars}"
        )
    return take_bars(prompt, first - 1, last)
