"""Sizes of an RWKV-7 model."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from rwkv_music.errors import InputError
from rwkv_music.old_names import MODEL_SIZES, renamed

_LARGEST = 2**31
"""Larger sizes belong to no model."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes, checked on construction. Low-rank dims of 0 follow the official trainer's rule.

    Example:
        >>> ModelConfig(vocab_size=2048, num_layers=4, dim=192).gate_low_rank_dim
        64
    """

    vocab_size: int
    num_layers: int
    dim: int
    """Number of channels, C: a multiple of the head size."""
    head_size: int = 64
    decay_low_rank_dim: int = 0
    """Inner dim of the low-rank branch of the decay; 0 means round32(2.5 sqrt C)."""
    a_low_rank_dim: int = 0
    """The same for the in-context learning rate a; 0 means round32(2.5 sqrt C)."""
    v_low_rank_dim: int = 0
    """The same for the value residual; 0 means round32(1.7 sqrt C)."""
    gate_low_rank_dim: int = 0
    """The same for the gate; 0 means round32(5 sqrt C)."""
    dropout: float = 0.0
    """Fraction of the outputs of each mixing dropped in training."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "num_layers", "dim", "head_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.head_size < 2:
            raise InputError(f"head_size must be at least 2, got {self.head_size}")
        if self.dim % self.head_size:
            raise InputError(
                f"dim must be a multiple of head_size={self.head_size}, got {self.dim}"
            )
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be in [0, 1), got {self.dropout}")
        root = math.sqrt(self.dim)
        rule = {
            "decay_low_rank_dim": 2.5,
            "a_low_rank_dim": 2.5,
            "v_low_rank_dim": 1.7,
            "gate_low_rank_dim": 5.0,
        }
        for name, factor in rule.items():
            if getattr(self, name) < 0:
                raise InputError(
                    f"{name} must be at least 1, or 0 for the official trainer's rule, got "
                    f"{getattr(self, name)}"
                )
            if not getattr(self, name):
                object.__setattr__(self, name, max(32, 32 * round(factor * root / 32)))

    @property
    def num_heads(self) -> int:
        """Number of heads of the time mixing."""
        return self.dim // self.head_size

    def to_dict(self) -> dict[str, Any]:
        """Return the sizes as a dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelConfig":
        """Make a config from a checkpoint's header; old names are accepted, unknown ones refused.

        Raises:
            InputError: If a name is unknown, or a value is of another type or out of range.
        """
        values = renamed(values, MODEL_SIZES)
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise InputError(
                f"unknown model setting '{unknown[0]}': the checkpoint was made by another version "
                "of rwkv-music"
            )
        for name, value in values.items():
            _check_type(name, value)
        return cls(**values)


def _check_type(name: str, value: object) -> None:
    """Refuse values of other types, as a damaged checkpoint may hold, and sizes of no model."""
    expected_type = "number" if name == "dropout" else "whole number"
    types = int | float if name == "dropout" else int
    if isinstance(value, bool) or not isinstance(value, types):
        raise InputError(f"{name} must be a {expected_type}, got {value!r}")
    if value > _LARGEST:
        raise InputError(f"{name} must be at most {_LARGEST}: the checkpoint is damaged")
