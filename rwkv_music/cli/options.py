"""Options of the commands: generated from declared settings, or typed with their limits."""

import argparse
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from rwkv_music.cli.flags import flag_of, with_flags
from rwkv_music.errors import InputError
from rwkv_music.settings import Setting, declared_settings
from rwkv_music.shipped_models import DEFAULT_MODEL
from rwkv_music.tokenizer.tokenizer_settings import TokenizerSettings

if TYPE_CHECKING:
    from rwkv_music.tokenizer import Tokenizer

EXIT_INTERRUPTED = 130
"""Exit code of a command that was ended by Ctrl-C, as shells expect it."""
EXIT_PIPE_CLOSED = 141
"""Exit code of a command whose output nobody reads any more, as shells expect it."""

_METAVARS = {int: "N", float: "X", str: "NAME"}


def add_command(
    commands: Any,  # noqa: ANN401 - argparse keeps the class of its subparsers private
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    summary: str,
    example: str,
) -> argparse.ArgumentParser:
    """Add a command, with its summary as help and an example at the end."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary, epilog=f"example: {example}"
    )
    parser.set_defaults(run=run)
    return parser


def add_settings(
    parser: "argparse.ArgumentParser | argparse._ArgumentGroup", settings: Iterable[Setting]
) -> None:
    """Add an option for each setting; an option that is not given is None.

    `given_settings` reads them.
    """
    settings = list(settings)
    names = {declared.name for declared in settings}
    for declared in settings:
        options: dict[str, Any] = {
            "help": with_flags(_help_text(declared), names).replace("%", "%%"),
            "default": None,
            "dest": declared.name,
        }
        if declared.type is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif declared.choices:
            options["type"] = _value_of(declared)
            options["choices"] = declared.choices
        else:
            options["type"] = _value_of(declared)
            options["metavar"] = declared.metavar or _METAVARS[declared.type]
        parser.add_argument(flag_of(declared.name), required=declared.is_required, **options)


def given_settings(given: argparse.Namespace, settings: Iterable[Setting]) -> dict[str, Any]:
    """Return the settings among the arguments that were typed, by name."""
    values = {declared.name: getattr(given, declared.name, None) for declared in settings}
    return {name: value for name, value in values.items() if value is not None}


def _help_text(declared: Setting) -> str:
    text = declared.help.rstrip(".")
    text = text[0].lower() + text[1:]
    if declared.default in (None, "") or declared.is_required:
        return text
    if declared.type is bool:
        return f"{text} (default: {'on' if declared.default else 'off'})"
    default = f"{declared.default:g}" if declared.type is float else declared.default
    return f"{text} (default: {default})"


def _value_of(declared: Setting) -> Callable[[str], Any]:
    """Return the argument type of a setting."""

    def parse(text: str) -> Any:  # noqa: ANN401
        try:
            return declared.parse(text)
        except InputError as error:
            # argparse puts the option's name in front.
            reason = str(error).removeprefix(f"`{declared.name}` ")
            raise argparse.ArgumentTypeError(reason) from error

    return parse


def whole_number(*, at_least: int) -> Callable[[str], int]:
    """Return an argument type: whole numbers with a lower limit."""

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


def number(text: str) -> float:
    """Parse a finite number as an argument."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number")
    return value


def add_model_option(parser: argparse.ArgumentParser) -> None:
    """Add `--model`, which `load_model` takes."""
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME|PATH",
        help="a shipped model, a run directory or a checkpoint (default: %(default)s)",
    )


def add_unfold_option(parser: argparse.ArgumentParser) -> None:
    """Add the flag that plays the repeats of notation files."""
    parser.add_argument(
        "--unfold-repeats",
        action="store_true",
        help="play the repeats and endings of notation files (default: as written)",
    )


def add_tokenizer_options(parser: argparse.ArgumentParser) -> None:
    """Add the tokenizer's settings; `tokenizer_of` reads them."""
    add_settings(parser, declared_settings(TokenizerSettings))


def tokenizer_of(given: argparse.Namespace) -> "Tokenizer":
    """Return the tokenizer with the settings of `add_tokenizer_options`."""
    from rwkv_music.tokenizer import Tokenizer

    return Tokenizer(**given_settings(given, declared_settings(TokenizerSettings)))
