"""Presets: settings to start from, one for each size of model.

`small` made the shipped models and `tiny` takes seconds; these two have been trained. The others
are named after their number of parameters with the default vocabulary. Their shapes and peak
learning rates follow the official RWKV-LM trainer, whose author recommends deep and narrow models
for data like music. Sizes that suit small collections have dropout. The numbers of steps are round
starting points, not measured optima.
"""

from typing import Any

_TINY: dict[str, Any] = {
    "steps": 40,
    "num_layers": 2,
    "dim": 64,
    "dropout": 0.0,
    "prompt_bars": 2,
    "completion_bars": 2,
    "batch_size": 4,
    "learning_rate": 3e-3,
    "warmup_steps": 4,
    "evaluate_every": 20,
}


def _sized(
    num_layers: int,
    dim: int,
    *,
    learning_rate: float,
    batch_size: int,
    steps: int,
    dropout: float = 0.0,
) -> dict[str, Any]:
    return {
        "num_layers": num_layers,
        "dim": dim,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "steps": steps,
        "dropout": dropout,
        "warmup_steps": steps // 50,
        "evaluate_every": steps // 20,
    }


PRESETS: dict[str, dict[str, Any]] = {
    "small": {},
    "tiny": _TINY,
    "1m": _sized(2, 128, learning_rate=3e-3, batch_size=8, steps=1_000, dropout=0.1),
    "5m": _sized(8, 192, learning_rate=1.5e-3, batch_size=16, steps=4_000, dropout=0.1),
    "12m": _sized(12, 256, learning_rate=1e-3, batch_size=16, steps=8_000, dropout=0.1),
    "25m": _sized(12, 384, learning_rate=8e-4, batch_size=32, steps=20_000),
    "43m": _sized(12, 512, learning_rate=7e-4, batch_size=32, steps=40_000),
    "94m": _sized(12, 768, learning_rate=6e-4, batch_size=64, steps=60_000),
    "324m": _sized(24, 1024, learning_rate=4e-4, batch_size=64, steps=100_000),
    "1.3b": _sized(24, 2048, learning_rate=3e-4, batch_size=128, steps=150_000),
    "2.6b": _sized(32, 2560, learning_rate=2e-4, batch_size=128, steps=200_000),
}
"""The settings in which each preset differs from the defaults; from `1m` on by size."""
