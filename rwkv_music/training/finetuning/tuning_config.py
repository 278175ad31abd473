"""The settings of fine-tuning, each declared once."""

from collections.abc import Mapping
from dataclasses import dataclass

from rwkv_music.settings import (
    Setting,
    SettingsGroup,
    declared_settings,
    same_setting,
    setting,
)
from rwkv_music.training.config import DataConfig

_LEARNING_RATES = {"state": 1.0, "lora": 2e-3, "full": 3e-4}


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningConfig(SettingsGroup):
    """Settings of fine-tuning, checked when they are made.

    Example:
        >>> TuningConfig(method="lora").peak_learning_rate
        0.002
    """

    method: str = setting(
        "state",
        choices=("state", "lora", "full"),
        help="What to train: the initial state (a style file), low-rank additions (lora), or every "
        "parameter (full).",
    )
    steps: int = setting(120, minimum=1, help="Optimizer steps to take.")
    batch_size: int = setting(4, minimum=1, help="Windows in a batch.")
    learning_rate: float | None = setting(
        None,
        above=0,
        help="Peak learning rate. Default: 1 for state, 0.002 for lora, 0.0003 for full.",
    )
    rank: int = setting(8, minimum=1, help="Rank of the additions of lora.")
    prompt_bars: int = same_setting(DataConfig, "prompt_bars")
    completion_bars: int = same_setting(DataConfig, "completion_bars")
    unfold_repeats: bool = setting(
        default=False, help="Play the repeats and endings of notation files."
    )
    precision: str = setting(
        "auto",
        choices=("auto", "float32", "bfloat16"),
        synonyms={"fp32": "float32", "bf16": "bfloat16"},
        help="Precision of the matrix products; auto takes the faster one of this machine.",
    )
    seed: int = setting(
        0, minimum=0, help="Seed of the order of windows and of the initial values of lora."
    )

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after the warm-up: the one given, or the method's own."""
        return _LEARNING_RATES[self.method] if self.learning_rate is None else self.learning_rate


def tuning_settings() -> Mapping[str, Setting]:
    """Return the declaration of every setting by its name."""
    return {declared.name: declared for declared in declared_settings(TuningConfig)}
