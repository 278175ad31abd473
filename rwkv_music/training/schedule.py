"""The learning rate as a function of the step.

Both schedules rise linearly to the peak and end at a tenth of it. "cosine" decays along half a
cosine: the best choice if the number of steps is known. "wsd" (warm-up, stable, decay) stays at the
peak and decays only in its last part, along 1 - sqrt: as good at the end, and the part before the
decay can be reused for a longer run (Hägele et al. 2024, arXiv:2405.18392).
"""

import math

from rwkv_music.errors import InputError
from rwkv_music.training.config import SCHEDULES

_FINAL_FRACTION = 0.1


def learning_rate_at(
    step: int,
    *,
    peak: float,
    warmup_steps: int,
    steps: int,
    schedule: str = "cosine",
    decay_fraction: float = 0.2,
) -> float:
    """Return the learning rate of a step: warm-up to the peak, then decay to a tenth of it.

    Args:
        step: Optimizer step about to be taken, counted from 1.
        peak: The largest learning rate.
        warmup_steps: Steps of the warm-up; 0 starts at the peak.
        steps: The last step.
        schedule: One of `SCHEDULES`.
        decay_fraction: Fraction of all steps over which "wsd" decays, at the end.

    Raises:
        InputError: If there is no such schedule.

    Example:
        >>> [round(learning_rate_at(s, peak=1.0, warmup_steps=2, steps=4), 2) for s in (1, 2, 3, 4)]
        [0.5, 1.0, 0.55, 0.1]
    """
    if schedule not in SCHEDULES:
        raise InputError(f"`schedule` must be one of {SCHEDULES}, got '{schedule}'")
    if step <= warmup_steps:
        return peak * step / warmup_steps
    if schedule == "cosine":
        progress = (step - warmup_steps) / (steps - warmup_steps)
        factor = 0.5 * (1 + math.cos(math.pi * progress))
    else:
        stable_until = max(warmup_steps, round(steps * (1 - decay_fraction)))
        progress = max(0.0, (step - stable_until) / max(1, steps - stable_until))
        factor = 1 - math.sqrt(progress)
    return peak * (_FINAL_FRACTION + (1 - _FINAL_FRACTION) * factor)
