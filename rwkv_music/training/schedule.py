"""The learning rate as a function of the step.

Both schedules rise linearly to the peak and end at a tenth of it. "cosine" falls from the peak on
along half a cosine: the best single run, if the number of steps is known. "wsd" (warm-up, stable,
decay) stays at the peak and falls only in its last part, along 1 - sqrt: as good once it has
fallen, and all that came before the fall can be used again for a longer run (Hägele et al. 2024,
arXiv:2405.18392).
"""

import math

from rwkv_music.errors import InputError
from rwkv_music.training.config import SCHEDULES

_FINAL_SHARE = 0.1


def learning_rate_at(
    step: int,
    *,
    peak: float,
    warmup_steps: int,
    steps: int,
    schedule: str = "cosine",
    decay_share: float = 0.2,
) -> float:
    """Linear warm-up to the peak, then down to a tenth of it at the last step.

    Args:
        step: Optimizer step about to be taken, counted from 1.
        peak: The largest learning rate.
        warmup_steps: Steps of the rise; 0 begins at the peak.
        steps: The last step.
        schedule: One of `SCHEDULES`.
        decay_share: Share of all steps in which "wsd" falls; it stays at the peak until then.

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
        height = 0.5 * (1 + math.cos(math.pi * progress))
    else:
        stable_until = max(warmup_steps, round(steps * (1 - decay_share)))
        progress = max(0.0, (step - stable_until) / max(1, steps - stable_until))
        height = 1 - math.sqrt(progress)
    return peak * (_FINAL_SHARE + (1 - _FINAL_SHARE) * height)
