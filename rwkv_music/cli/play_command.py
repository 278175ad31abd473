"""`rwkv-music play`: play a MIDI file."""

import argparse
from pathlib import Path
from typing import Any

from rwkv_music.cli.options import add_command, add_unfold_option


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Describe the command."""
    parser = add_command(
        commands,
        "play",
        run,
        summary="Play a MIDI file on this computer; Ctrl-C stops.",
        example="rwkv-music play out/prompt-1.mid",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="file to play")
    add_unfold_option(parser)


def run(given: argparse.Namespace) -> int:
    """Play the file to its end."""
    from rwkv_music.playback import play_file

    play_file(given.file, unfold_repeats=given.unfold_repeats)
    return 0
