"""Functions that a caller passes to a run, called while it trains."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rwkv_music.data.worker_pool import Progress
from rwkv_music.training.trainer import StepMetrics


def _ignore(_argument: Any) -> None:  # noqa: ANN401 - accepts what any callback accepts
    """Do nothing."""


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """Functions called while a run trains; by default they do nothing."""

    on_piece: Progress | None = None
    """Called for each piece of the corpus while it is read."""
    on_step: Callable[[StepMetrics], None] = _ignore
    """Called after each optimizer step."""
    on_evaluation: Callable[[dict[str, Any]], None] = _ignore
    """Called with each evaluation line of metrics.jsonl."""
    on_note: Callable[[str], None] = _ignore
    """Called with sentences for the user: which step a run resumes from, warnings."""
