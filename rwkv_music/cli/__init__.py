"""The command line. Results go to stdout, progress to stderr.

Exit code 0; 2 with one line for something the user gave that cannot be used; 1 for a bug of ours
(with its traceback). Every command's `--help` ends with an example.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from rwkv_music import __version__
from rwkv_music.cli import (
    benchmark_command,
    continue_command,
    doctor_command,
    lab_command,
    play_command,
    prepare_command,
    train_command,
    tune_command,
)
from rwkv_music.cli.flags import with_current_names, with_flags
from rwkv_music.cli.options import EXIT_INTERRUPTED
from rwkv_music.devices import TORCH_ENVIRONMENT
from rwkv_music.errors import InputError

_EXIT_BAD_INPUT = 2
_MEMORY_IS_FULL = (
    "the GPU's memory is full: ask for less at once (a smaller --batch-size, fewer --candidates), "
    "take a smaller model, or end other programs on the GPU"
)
_COMMANDS = (
    continue_command,
    prepare_command,
    train_command,
    tune_command,
    doctor_command,
    play_command,
    benchmark_command,
    lab_command,
)


class _Parser(argparse.ArgumentParser):
    """Refuses an argument with one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(_EXIT_BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each one's arguments stand in its own module."""
    parser = _Parser(
        prog="rwkv-music",
        description="Train and play with RWKV-7 models of symbolic music.",
        epilog="example: rwkv-music continue prompt.mid --bars 4 -o out/",
    )
    parser.add_argument(
        "--version",
        action="store_true",
        help="print the version; with --verbose also where things are kept and what runs here",
    )
    parser.add_argument("--verbose", action="store_true", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code.
    """
    # torch reads these when it is loaded, which no command has done yet.
    for name, value in TORCH_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    parser = build_parser()
    typed = sys.argv[1:] if arguments is None else arguments
    given = parser.parse_args(with_current_names(typed))
    if given.version:
        print(_version_text(verbose=given.verbose))
        return 0
    if given.command is None:
        parser.print_help(sys.stderr)
        return _EXIT_BAD_INPUT
    try:
        code: int = given.run(given)
    except InputError as error:
        print(f"rwkv-music: {with_flags(str(error), vars(given))}", file=sys.stderr)
        return _EXIT_BAD_INPUT
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which may not be loaded yet
            raise
        print(f"rwkv-music: {_MEMORY_IS_FULL}", file=sys.stderr)
        return _EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("rwkv-music: stopped by Ctrl-C", file=sys.stderr)
        return EXIT_INTERRUPTED
    return code


def _version_text(*, verbose: bool) -> str:
    lines = [f"rwkv-music {__version__}"]
    if verbose:
        import platform
        from importlib import metadata

        from rwkv_music.cache import cache_folder
        from rwkv_music.devices import choose_device
        from rwkv_music.ops.backends import available_backends, describe_backends
        from rwkv_music.tokenizer.compiled import describe_loops

        lines += [
            f"python {platform.python_version()}, torch {metadata.version('torch')}",
            f"device: {choose_device('auto')}",
            f"WKV kernel: {describe_backends()}",
            f"WKV backends: {', '.join(available_backends())}",
            f"tokenizer loops: {describe_loops()}",
            f"cache folder: {cache_folder()}",
        ]
    return "\n".join(lines)
