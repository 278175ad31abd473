"""What is asked of a model: what to write, how to sample, and under which limits."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from rwkv_music.generation.constraints.constraints import Constraints
from rwkv_music.generation.request.controls import Controls
from rwkv_music.generation.request.generation_settings import ContinuationSettings, SamplingSettings
from rwkv_music.generation.request.keep import Keep


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request for new music.

    Raises:
        InputError: If a number is out of range.

    Example:
        >>> Request(bars=2, candidates=1, seed=7).seeds
        [7]
        >>> Request(bars=(5, 8), parts=["Bass"]).is_hole
        True
    """

    bars: int | tuple[int, int] = 4
    """Number of bars to add behind the end, or the first and last bar to write anew, counted from
    1, both included."""
    parts: Sequence[str | int] | None = None
    """Parts to write: names of tracks, General MIDI instruments, "drums", or indices of tracks; all
    when None."""
    controls: Controls | None = None
    """Soft wishes."""
    candidates: int = 3
    """Number of versions, sampled in one batch."""
    temperature: float = 1.0
    """Logits are divided by it; 0 takes the most likely token each time."""
    top_p: float = 0.95
    """Sample from the most likely tokens that add up to this probability."""
    top_k: int | None = None
    """Sample from this many of the most likely tokens; from all when None."""
    seed: int = 0
    """Seed of the first candidate; the others count up from it."""
    constraints: Constraints = field(default_factory=Constraints)
    """Hard limits."""
    keep: Keep | None = None
    """What of the old music stays in the bars and parts to write."""
    precision: str = "auto"
    """Precision of the model's matrices: "float32", "bfloat16", "int8", or "auto": bfloat16 on
    devices that are fast with it, float32 elsewhere."""

    def __post_init__(self) -> None:
        added = self.bars if isinstance(self.bars, int) else 1
        ContinuationSettings(bars=added, candidates=self.candidates, seed=self.seed)
        _ = self.sampling

    @property
    def is_hole(self) -> bool:
        """Whether a model must know holes: for bars inside a score, chosen parts or controls."""
        return not isinstance(self.bars, int) or self.parts is not None or self.controls is not None

    @property
    def settings(self) -> dict[str, Any]:
        """Bars, candidates and the settings that differ from the defaults, ready for JSON."""
        stated = {"bars": self.bars, "candidates": self.candidates, **_changed_settings(self)}
        settings: dict[str, Any] = json.loads(json.dumps(stated))
        return settings

    @property
    def sampling(self) -> SamplingSettings:
        """Temperature, top-p and top-k."""
        return SamplingSettings(temperature=self.temperature, top_p=self.top_p, top_k=self.top_k)

    @property
    def seeds(self) -> list[int]:
        """Seed of each candidate: a candidate's own seed makes it again, alone."""
        return [candidate_seed(self.seed, index) for index in range(self.candidates)]


def _changed_settings(settings: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass of a request
    """Return the fields of a dataclass that differ from its defaults, with those of nested ones."""
    default, changed = type(settings)(), {}
    for setting in fields(settings):
        value = getattr(settings, setting.name)
        if value == getattr(default, setting.name):
            continue
        if setting.name == "parts" and isinstance(value, Mapping):
            value = {str(part): _changed_settings(own) for part, own in value.items()}
        elif is_dataclass(value):
            value = _changed_settings(value)
        changed[setting.name] = value
    return changed


def candidate_seed(seed: int, index: int) -> int:
    """Return the seed of a candidate; index 0 has `seed` itself."""
    return seed + index
