"""Who is told what while a run goes on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rwkv_music.data.worker_pool import Progress
from rwkv_music.training.trainer import StepMetrics


def _nothing(_given: Any) -> None:  # noqa: ANN401 - listens to anything
    """Nobody listens."""


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """Who is told what while a run goes on."""

    on_piece: Progress | None = None
    """Each piece of the corpus, while it is read."""
    on_step: Callable[[StepMetrics], None] = _nothing
    """Each optimizer step."""
    on_evaluation: Callable[[dict[str, Any]], None] = _nothing
    """Each evaluation line of metrics.jsonl."""
    on_note: Callable[[str], None] = _nothing
    """Sentences a user should read: where a run goes on from, warnings."""
