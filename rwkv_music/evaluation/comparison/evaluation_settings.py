"""The settings of a comparison of models, each declared once."""

from dataclasses import dataclass

from rwkv_music.errors import InputError
from rwkv_music.generation.request.generation_settings import SamplingSettings
from rwkv_music.settings import SettingsGroup, setting

PROMPT_BARS = 4
"""Bars of a prompt."""
COMPLETION_BARS = 8
"""Bars that follow it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSettings(SamplingSettings):
    """How much is measured, and how continuations are sampled.

    Raises:
        InputError: If a number is out of range.
    """

    windows: int = setting(
        40, minimum=1, help="Windows per set and layout whose likelihood is measured."
    )
    continuations: int = setting(
        20, minimum=0, help="Continuations per set and layout; 0 for none."
    )
    long_bars: int = setting(
        0,
        minimum=0,
        help="Bars of long continuations, such as 64, whose first and last eight bars are "
        "compared; 0 for none.",
    )
    long_continuations: int = setting(5, minimum=1, help="Long continuations per set.")
    seed: int = setting(0, minimum=0, help="Seed of the first continuation of each set.")

    def __post_init__(self) -> None:
        SettingsGroup.__post_init__(self)
        if self.long_bars and self.long_bars < 2 * COMPLETION_BARS:
            raise InputError(
                f"`long_bars` must be 0 or at least {2 * COMPLETION_BARS}, got {self.long_bars}"
            )
