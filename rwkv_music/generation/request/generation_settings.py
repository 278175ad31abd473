"""The settings of generation, each declared once."""

from dataclasses import dataclass

from rwkv_music.settings import SettingsGroup, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class ContinuationSettings(SettingsGroup):
    """How much to write, and how often.

    Raises:
        InputError: If a number is out of range.
    """

    bars: int = setting(4, minimum=1, help="Bars to add.")
    candidates: int = setting(3, minimum=1, help="Continuations to make.")
    seed: int = setting(0, minimum=0, help="Seed; the same one repeats a result exactly.")


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingSettings(SettingsGroup):
    """How the next token is drawn from the model's probabilities.

    Raises:
        InputError: If a number is out of range.
    """

    temperature: float = setting(
        1.0,
        minimum=0,
        metavar="T",
        help="Divisor of the logits: below 1 for safer music, above 1 for wilder music, 0 for the "
        "likeliest token each time.",
    )
    top_p: float = setting(
        0.95,
        above=0,
        maximum=1,
        metavar="P",
        help="Sample from the likeliest tokens whose probabilities sum to P.",
    )
    top_k: int | None = setting(
        None, minimum=1, metavar="K", help="Sample from the K likeliest tokens only. Default: all."
    )
