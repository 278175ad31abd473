"""Memory of a training step: the estimate, and advice where it does not fit."""

from rwkv_music.training.memory.advice import advice_when_full, remedies, require_memory
from rwkv_music.training.memory.estimate import (
    MemoryEstimate,
    StepWorkload,
    count_parameters,
    estimate_memory,
    free_memory,
)

__all__ = [
    "MemoryEstimate",
    "StepWorkload",
    "advice_when_full",
    "count_parameters",
    "estimate_memory",
    "free_memory",
    "remedies",
    "require_memory",
]
