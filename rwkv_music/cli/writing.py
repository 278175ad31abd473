"""Write what a request asks for: sample it, keep complete bars after Ctrl-C, choose the best."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.cli.candidate_output import given_style, output_folder, write_candidates
from rwkv_music.cli.options import EXIT_INTERRUPTED, whole_number
from rwkv_music.cli.terminal import print_message
from rwkv_music.errors import InputError

if TYPE_CHECKING:
    import symusic

    from rwkv_music.cli.candidate_output import Pieces
    from rwkv_music.generation import Request, Stream
    from rwkv_music.model import MusicModel


def add_parts_option(parser: argparse.ArgumentParser) -> None:
    """Add `--parts`; `given_parts` reads it."""
    parser.add_argument(
        "--parts",
        nargs="+",
        metavar="PART",
        help="parts to write: names of tracks or instruments, or numbers of tracks, counted from "
        "0; an instrument that the piece does not have gets a new track (default: all parts)",
    )


def given_parts(given: argparse.Namespace) -> list[str | int] | None:
    """Return the parts that were asked for; None for all."""
    if given.parts is None:
        return None
    return [int(part) if part.isdecimal() else part for part in given.parts]


def add_draw_option(parser: argparse.ArgumentParser) -> None:
    """Add `--draw`."""
    parser.add_argument(
        "--draw",
        type=whole_number(at_least=1),
        metavar="N",
        help="draw N versions, discard useless ones (silent, identical, stuck), and write the "
        "--candidates of them that fit best to the music around (default: all are written)",
    )


def write_request(
    model: "MusicModel",
    score: "symusic.Score",
    request: "Request",
    given: argparse.Namespace,
    *,
    source: Path,
    settings: dict[str, Any],
) -> int:
    """Sample a request, write its results, and return the exit code.

    Args:
        model: The model.
        score: The score that the request is for.
        request: What is asked for.
        given: The arguments.
        source: File of the score.
        settings: What the report says about the request.

    Raises:
        InputError: If the request cannot be met or the results cannot be written.
        KeyboardInterrupt: If Ctrl-C came before a bar was complete.
    """
    from rwkv_music.generation import stream

    candidates, draw = request.candidates, given.draw
    if draw is not None:
        if draw < candidates:
            raise InputError(f"`draw` must be at least {candidates}, got {draw}")
        request = replace(request, candidates=draw)
        settings = {**settings, "draw": draw}
    with output_folder(given.output):
        events = stream(model, score, request, style=given_style(given, model))
        _warn_of_unknown_music(given.model, model, score)
        is_interrupted = _run_until_ctrl_c(events)
        pieces: Pieces = [piece for piece in events.results() if piece.num_bars]
        if is_interrupted:
            if not pieces:
                raise KeyboardInterrupt
            print_message("stopped by Ctrl-C: the complete bars are kept")
        elif draw is not None:
            pieces = _best(model, pieces, candidates)
        bars = [piece.num_bars for piece in pieces]
        write_candidates(pieces, source, given, bars=bars, settings=settings)
    return EXIT_INTERRUPTED if is_interrupted else 0


def _warn_of_unknown_music(name: str, model: "MusicModel", score: "symusic.Score") -> None:
    """Say so if the score is less likely than the held-out music of a shipped model."""
    from rwkv_music.evaluation.familiarity import held_out_limit, prompt_nats

    limit = held_out_limit(str(name))
    nats = None if limit is None else prompt_nats(model, score)
    if limit is not None and nats is not None and nats > limit:
        print_message(
            f"warning: {name} hardly knows music like this ({nats:.1f} nats per token; 99 of 100 "
            f"held-out pieces have less than {limit:.1f}): another model may do better"
        )


def _run_until_ctrl_c(events: "Stream") -> bool:
    """Sample everything; return whether Ctrl-C ended it early."""
    try:
        for _ in events:
            pass
    except KeyboardInterrupt:
        events.close()
        return True
    return False


def _best(model: "MusicModel", pieces: "Pieces", candidates: int) -> "Pieces":
    """Return the best candidates, and report how many were discarded."""
    from rwkv_music.generation import Continuation, Filling, rank_continuations, rank_fillings

    continuations = [piece for piece in pieces if isinstance(piece, Continuation)]
    fillings = [piece for piece in pieces if isinstance(piece, Filling)]
    usable: Pieces = [
        *rank_continuations(continuations).pieces,
        *rank_fillings(model, fillings),
    ]
    print_message(f"drew {len(pieces)} versions, discarded {len(pieces) - len(usable)}")
    if not usable:
        raise InputError("all versions were discarded: draw more, or raise the temperature")
    return usable[:candidates]
