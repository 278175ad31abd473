"""Options for what new music must be (constraints) and should be like (controls)."""

import argparse
from typing import TYPE_CHECKING, Any

from rwkv_music.cli.options import whole_number

if TYPE_CHECKING:
    from rwkv_music.generation import Constraints, Controls

_CONTROLS = ("density", "polyphony", "register", "leaps", "similarity", "key")


def add_constraint_options(parser: argparse.ArgumentParser) -> None:
    """Add the constraints."""
    group = parser.add_argument_group(
        "constraints", "Hard limits on the new notes; what breaks them is not written."
    )
    group.add_argument("--scale", metavar="SCALE", help='scale or key, such as "A major"')
    group.add_argument(
        "--pitch-range",
        nargs=3,
        action="append",
        default=[],
        metavar=("PART", "LOW", "HIGH"),
        help="lowest and highest pitch of a part, such as Melody C4 C6; may be repeated",
    )
    group.add_argument(
        "--chords",
        nargs="+",
        default=[],
        metavar="CHORD",
        help="a chord for each bar, such as C Am7 N (any); repeated from the beginning",
    )
    group.add_argument(
        "--chord-length",
        choices=("bar", "beat"),
        default="bar",
        help="how long each of --chords lasts (default: bar)",
    )
    group.add_argument(
        "--max-polyphony",
        type=whole_number(at_least=1),
        metavar="N",
        help="notes that may sound at once in each part",
    )
    group.add_argument(
        "--drums",
        choices=("any", "none", "only"),
        default="any",
        help="whether drum parts may play, must not, or are the only ones (default: any)",
    )
    group.add_argument("--end-on-tonic", action="store_true", help="end on the tonic of --scale")
    group.add_argument(
        "--free",
        action="store_true",
        help="allow changes of tempo and time signature, cut bars, notes that are struck again "
        "while they sound, and any drum key",
    )


def given_constraints(given: argparse.Namespace) -> "Constraints":
    """Return the constraints that were asked for.

    Raises:
        InputError: If one is not understood.
    """
    from rwkv_music.generation import Constraints

    limits: dict[str, Any] = {
        "scale": given.scale,
        "pitch_range": {
            _name_or_number(part): (_name_or_number(low), _name_or_number(high))
            for part, low, high in given.pitch_range
        },
        "chords": tuple(given.chords),
        "chord_length": given.chord_length,
        "max_polyphony": given.max_polyphony,
        "drums": given.drums,
        "end_on_tonic": given.end_on_tonic,
    }
    return Constraints.free(**limits) if given.free else Constraints(**limits)


def _name_or_number(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def add_control_options(parser: argparse.ArgumentParser) -> None:
    """Add the controls."""
    group = parser.add_argument_group(
        "controls",
        "What the new music should be like; the model was trained to follow them. Levels count "
        "from 0.",
    )
    for name, most, text in (
        ("density", 7, "onsets a quarter, fewer than 0.5 to 7 or more"),
        ("polyphony", 5, "notes that sound at once, one to 4.5 or more"),
        ("register", 7, "mean pitch, below C2 to above F#5"),
        ("leaps", 4, "share of leaps in the top line, below 0.15 to 0.65 or more"),
    ):
        group.add_argument(
            f"--{name}", type=whole_number(at_least=0), metavar="LEVEL", help=f"{text}: 0 to {most}"
        )
    group.add_argument(
        "--similarity",
        choices=("contrast", "vary", "repeat"),
        help="likeness to the bars around",
    )
    group.add_argument("--key", metavar="KEY", help='a key, such as "A minor"')


def given_controls(given: argparse.Namespace) -> "Controls | None":
    """Return the controls that were asked for; None without any.

    Raises:
        InputError: If one is not understood.
    """
    from rwkv_music.generation import Controls

    stated = {name: getattr(given, name) for name in _CONTROLS}
    stated = {name: value for name, value in stated.items() if value is not None}
    return Controls(**stated) if stated else None
