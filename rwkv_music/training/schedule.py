"""The learning rate as a function of the step.

Both schedules rise linearly to the peak and end at a tenth of it. "cosine" decays along half a
cosine: the best choice if the number of steps is known. "wsd" (warm-up, stable, decay) stays at the
peak and decays only in its last part, along 1 - sqrt: as good at the end, and the part before the
decay can be reused for a longer run (Hägele et al. 2024, arXiv:2405.18392).
"""

import math
from dataclasses import dataclass

from rwkv_music.errors import InputError
from rwkv_music.training.config import SCHEDULES

_FINAL_FRACTION = 0.1


@dataclass(frozen=True, kw_only=True)
class LearningRateSchedule:
    """Warm-up to a peak, then decay to a tenth of it.

    Raises:
        InputError: If there is no such schedule.

    Example:
        >>> schedule = LearningRateSchedule(peak=1.0, warmup_steps=2, num_steps=4)
        >>> [round(schedule.at(step), 2) for step in (1, 2, 3, 4)]
        [0.5, 1.0, 0.55, 0.1]
    """

    peak: float
    """The largest learning rate."""
    warmup_steps: int
    """Steps of the warm-up; 0 starts at the peak."""
    num_steps: int
    """The last step."""
    schedule: str = "cosine"
    """One of `SCHEDULES`."""
    decay_fraction: float = 0.2
    """Fraction of all steps over which "wsd" decays, at the end."""

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise InputError(f"`schedule` must be one of {SCHEDULES}, got '{self.schedule}'")

    def at(self, step: int) -> float:
        """Return the learning rate of a step that is about to be taken, counted from 1."""
        if step <= self.warmup_steps:
            return self.peak * step / self.warmup_steps
        if self.schedule == "cosine":
            progress = (step - self.warmup_steps) / (self.num_steps - self.warmup_steps)
            factor = 0.5 * (1 + math.cos(math.pi * progress))
        else:
            stable_until = max(self.warmup_steps, round(self.num_steps * (1 - self.decay_fraction)))
            decay_steps = max(1, self.num_steps - stable_until)
            factor = 1 - math.sqrt(max(0.0, (step - stable_until) / decay_steps))
        return self.peak * (_FINAL_FRACTION + (1 - _FINAL_FRACTION) * factor)
