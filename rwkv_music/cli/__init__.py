"""The command line. Results go to stdout, progress and messages to stderr.

Exit codes: 0; 2 for input that cannot be used, or a disk that fails, with one line that says why;
1 for a bug, with its traceback; 130 after Ctrl-C; 141 if the reader of the output is gone. Every
command's `--help` ends with an example.
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
    evaluate_command,
    fill_command,
    lab_command,
    play_command,
    prepare_command,
    train_command,
    tune_command,
)
from rwkv_music.cli.flags import with_current_names, with_flags
from rwkv_music.cli.options import EXIT_INTERRUPTED, EXIT_PIPE_CLOSED
from rwkv_music.cli.terminal import (
    leave_closed_pipe,
    print_error,
    print_result,
    tolerate_narrow_encodings,
)
from rwkv_music.devices import TORCH_ENVIRONMENT
from rwkv_music.errors import InputError
from rwkv_music.printable import printable

_EXIT_BAD_INPUT = 2
_GPU_MEMORY_FULL = (
    "the GPU is out of memory: reduce --batch-size or --candidates, use a smaller model, or end "
    "other programs on the GPU"
)
_COMMANDS = (
    continue_command,
    fill_command,
    prepare_command,
    train_command,
    tune_command,
    doctor_command,
    evaluate_command,
    play_command,
    benchmark_command,
    lab_command,
)


class _Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line instead of printing the whole usage."""

    def error(self, message: str) -> NoReturn:
        line = printable(f"{self.prog}: {message} (see {self.prog} --help)", one_line=True)
        self.exit(_EXIT_BAD_INPUT, f"{line}\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each command's module adds its own arguments."""
    parser = _Parser(
        prog="rwkv-music",
        description="Train and play with RWKV-7 models of symbolic music.",
        epilog="example: rwkv-music continue prompt.mid --bars 4 -o out/",
    )
    parser.add_argument(
        "--version",
        action="store_true",
        help="print the version; with --verbose also the folders and kernels in use",
    )
    parser.add_argument("--verbose", action="store_true", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name; sys.argv if None.

    Returns:
        The exit code.
    """
    # torch reads these when it is imported, which no command has done yet.
    for name, value in TORCH_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    tolerate_narrow_encodings()
    parser = build_parser()
    typed = sys.argv[1:] if arguments is None else arguments
    given = parser.parse_args(lab_command.with_folder(with_current_names(typed)))
    if given.version:
        print_result(_version_text(verbose=given.verbose))
        return 0
    if given.command is None:
        parser.print_help(sys.stderr)
        return _EXIT_BAD_INPUT
    return _run(given)


def _run(given: argparse.Namespace) -> int:
    """Run the command of parsed arguments, and turn its errors into one line and an exit code."""
    try:
        code: int = given.run(given)
    except KeyboardInterrupt:
        print_error("stopped by Ctrl-C")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        leave_closed_pipe()
        return EXIT_PIPE_CLOSED
    except (InputError, OSError, RuntimeError) as error:
        line = _line_about(error)
        if line is None:
            raise
        print_error(with_flags(line, vars(given)))
        return _EXIT_BAD_INPUT
    return code


def _line_about(error: Exception) -> str | None:
    """Return what to tell the user about an error; None if it is a bug."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which may not be imported
        return _GPU_MEMORY_FULL
    return None


def _version_text(*, verbose: bool) -> str:
    lines = [f"rwkv-music {__version__}"]
    if verbose:
        import platform
        from importlib import metadata

        from rwkv_music.cache import cache_folder
        from rwkv_music.devices import choose_device
        from rwkv_music.ops.backends import available_backends, describe_backends
        from rwkv_music.tokenizer.native import describe_loops

        lines += [
            f"python {platform.python_version()}, torch {metadata.version('torch')}",
            f"device: {choose_device('auto')}",
            f"WKV kernel: {describe_backends()}",
            f"WKV backends: {', '.join(available_backends())}",
            f"tokenizer loops: {describe_loops()}",
            f"cache folder: {cache_folder()}",
        ]
    return "\n".join(lines)
