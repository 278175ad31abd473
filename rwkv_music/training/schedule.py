"""The learning rate as a function of the step."""

import math

_FINAL_SHARE = 0.1


def learning_rate_at(step: int, *, peak: float, warmup_steps: int, steps: int) -> float:
    """Linear warm-up to the peak, then a cosine down to a tenth of it at the last step.

    Args:
        step: Optimizer step about to be taken, counted from 1.
        peak: The largest learning rate.
        warmup_steps: Steps of the rise; 0 begins at the peak.
        steps: The last step.

    Example:
        >>> [round(learning_rate_at(s, peak=1.0, warmup_steps=2, steps=4), 2) for s in (1, 2, 3, 4)]
        [0.5, 1.0, 0.55, 0.1]
    """
    if step <= warmup_steps:
        return peak * step / warmup_steps
    progress = (step - warmup_steps) / (steps - warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return peak * (_FINAL_SHARE + (1 - _FINAL_SHARE) * cosine)
