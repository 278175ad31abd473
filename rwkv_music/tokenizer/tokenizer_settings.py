"""The settings of a tokenizer, each declared once."""

from dataclasses import dataclass

from rwkv_music.settings import SettingsGroup, setting

MAX_PARTS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerSettings(SettingsGroup):
    """Settings of a tokenizer, checked when they are made.

    Raises:
        InputError: If a setting has another value.
    """

    steps_per_quarter: int = setting(
        96, choices=(48, 96, 192, 480), help="Grid steps in a quarter note."
    )
    velocities: int = setting(
        32, choices=(32, 64, 128), help="Velocity levels, in steps of 4, 2 or 1."
    )
    max_parts: int = setting(
        MAX_PARTS,
        minimum=1,
        maximum=MAX_PARTS,
        help="Parts that a piece may have; more of them are merged by program.",
    )
