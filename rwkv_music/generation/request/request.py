"""What is asked of a model: how much to write, how to sample, and under which limits."""

from dataclasses import dataclass, field

from rwkv_music.generation.constraints.constraints import Constraints
from rwkv_music.generation.request.generation_settings import ContinuationSettings, SamplingSettings


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request for new music.

    Raises:
        InputError: If a number is out of range.

    Example:
        >>> Request(bars=2, candidates=1, seed=7).seeds
        [7]
    """

    bars: int = 4
    """Number of bars to add."""
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
    precision: str = "auto"
    """Precision of the model's matrices: "float32", "bfloat16", "int8", or "auto": bfloat16 on
    devices that are fast with it, float32 elsewhere."""

    def __post_init__(self) -> None:
        ContinuationSettings(bars=self.bars, candidates=self.candidates, seed=self.seed)
        _ = self.sampling

    @property
    def sampling(self) -> SamplingSettings:
        """Temperature, top-p and top-k."""
        return SamplingSettings(temperature=self.temperature, top_p=self.top_p, top_k=self.top_k)

    @property
    def seeds(self) -> list[int]:
        """Seed of each candidate: a candidate's own seed makes it again, alone."""
        return [candidate_seed(self.seed, index) for index in range(self.candidates)]


def candidate_seed(seed: int, index: int) -> int:
    """Return the seed of a candidate; index 0 has `seed` itself."""
    return seed + index
