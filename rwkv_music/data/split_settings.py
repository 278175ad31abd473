"""The setting of a split into training and held-out pieces."""

from dataclasses import dataclass

from rwkv_music.settings import SettingsGroup, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitSettings(SettingsGroup):
    """How pieces are split, checked when it is made.

    Raises:
        InputError: If the fraction is out of range.
    """

    valid_fraction: float = setting(
        0.1,
        above=0,
        below=1,
        help="Fraction of the pieces to hold out for evaluation; a token store keeps the one that "
        "it was prepared with.",
    )
