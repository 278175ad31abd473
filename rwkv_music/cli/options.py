"""What several commands share: number types that refuse with a sentence, and the help's example."""

import argparse
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rwkv_music.tokenizer import Tokenizer

EXIT_INTERRUPTED = 130
"""What a shell expects of a command that Ctrl-C ended."""


def whole_number(*, at_least: int) -> Callable[[str], int]:
    """An argument type: a whole number with a lower limit, both named when it is refused."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"'{text}' is not a whole number; give one of at least {at_least}"
            ) from None
        if value < at_least:
            raise argparse.ArgumentTypeError(f"{value} is too small; give at least {at_least}")
        return value

    return parse


def number(
    *, above: float | None = None, at_least: float | None = None, at_most: float | None = None
) -> Callable[[str], float]:
    """An argument type: a number within limits, named when it is refused."""
    wanted = [
        f"{word} {limit:g}"
        for word, limit in (("above", above), ("at least", at_least), ("at most", at_most))
        if limit is not None
    ]

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"'{text}' is not a number")
        fits = (
            (above is None or value > above)
            and (at_least is None or value >= at_least)
            and (at_most is None or value <= at_most)
        )
        if not fits:
            raise argparse.ArgumentTypeError(
                f"{text} is out of range; give one {' and '.join(wanted)}"
            )
        return value

    return parse


def add_tokenizer_options(parser: argparse.ArgumentParser) -> None:
    """The settings of the tokenizer that music is encoded with; read by `tokenizer_of`."""
    parser.add_argument(
        "--steps-per-quarter",
        type=whole_number(at_least=1),
        default=96,
        metavar="N",
        help="grid steps in a quarter: 48, 96, 192 or 480 (default: %(default)s)",
    )
    parser.add_argument(
        "--velocities",
        type=whole_number(at_least=1),
        default=32,
        metavar="N",
        help="velocity levels: 32, 64 or 128 (default: %(default)s)",
    )


def tokenizer_of(given: argparse.Namespace) -> "Tokenizer":
    """The tokenizer that the options ask for.

    Raises:
        InputError: If there is none with these settings.
    """
    from rwkv_music.tokenizer import Tokenizer

    return Tokenizer(steps_per_quarter=given.steps_per_quarter, velocities=given.velocities)


def add_command(
    commands: Any,  # noqa: ANN401 - argparse keeps the class of its subparsers private
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    summary: str,
    example: str,
) -> argparse.ArgumentParser:
    """A command with its summary as help and its example at the end."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary, epilog=f"example: {example}"
    )
    parser.set_defaults(run=run)
    return parser
