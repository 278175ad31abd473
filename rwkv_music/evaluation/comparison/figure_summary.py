"""The summary of a figure over many continuations, and the rows beside those of models."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

TRUTH, RANDOM = "truth", "random"
"""Rows beside the models: the bars that follow in the piece, and bars of another piece."""


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
