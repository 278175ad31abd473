"""How much an evaluation measures, and the summary of a figure over many continuations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rwkv_music.errors import InputError
from rwkv_music.evaluation.comparison.evaluation_sets import COMPLETION_BARS

TRUTH, RANDOM = "truth", "random"
"""Rows beside the models: the bars that follow in the piece, and bars of another piece."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSizes:
    """How much is measured."""

    windows: int = 40
    """Windows per set and layout whose likelihood is measured."""
    continuations: int = 20
    """Continuations per set and layout; 0 for none."""
    long_bars: int = 0
    """Bars of long continuations, whose first and last eight bars are compared; 0 for none."""
    long_continuations: int = 5
    """Long continuations per set."""
    temperature: float = 1.0
    top_p: float = 0.95
    seed: int = 0
    """Seed of the first continuation of each set."""

    def __post_init__(self) -> None:
        for name, least in (("windows", 1), ("continuations", 0), ("long_continuations", 1)):
            if getattr(self, name) < least:
                raise InputError(f"`{name}` must be at least {least}, got {getattr(self, name)}")
        if self.long_bars and self.long_bars < 2 * COMPLETION_BARS:
            raise InputError(
                f"`long_bars` must be 0 or at least {2 * COMPLETION_BARS}, got {self.long_bars}"
            )


def figure_summary(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return mean, standard deviation and number of each figure; None where there is none."""
    summary = {}
    for name in rows[0]:
        values = [row[name] for row in rows if math.isfinite(row[name])]
        summary[name] = {
            "mean": float(np.mean(values)) if values else None,
            "deviation": float(np.std(values)) if values else None,
            "number": len(values),
        }
    return summary
