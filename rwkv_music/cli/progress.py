"""Progress on stderr: a bar while the corpus is read, a bar and lines while the model trains."""

import sys
from collections.abc import Container
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from rwkv_music.cli.flags import with_flags

if TYPE_CHECKING:
    from rwkv_music.training.trainer import StepMetrics


class ProgressBar:
    """Draws what a run tells of itself.

    Args:
        steps: Optimizer steps the run will take.
        settings: Names that notes show as flags.
    """

    def __init__(self, steps: int, *, settings: Container[str] = ()) -> None:
        self._steps = steps
        self._settings = settings
        self._corpus: Any = None
        self._training: Any = None

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for bar in (self._corpus, self._training):
            if bar is not None:
                bar.close()

    def on_piece(self, done: int, total: int, name: str) -> None:
        """A piece of the corpus was read."""
        if self._corpus is None:
            self._corpus = tqdm(total=total, desc="reading the corpus", unit="piece")
        self._corpus.set_postfix_str(name, refresh=False)
        self._corpus.update(done - self._corpus.n)
        if done == total:
            self._end_reading()

    def _end_reading(self) -> None:
        """Leave the finished bar behind; two that are open would fight for the line."""
        if self._corpus is not None:
            self._corpus.close()

    def on_step(self, report: "StepMetrics") -> None:
        """An optimizer step was taken."""
        if self._training is None:
            self._end_reading()
            self._training = tqdm(
                total=self._steps, initial=report.step - 1, desc="training", unit="step"
            )
        self._training.set_postfix_str(
            f"{report.loss_train:.3f} nats/token, {report.tokens_per_second:.0f} tokens/s",
            refresh=False,
        )
        self._training.update(report.step - self._training.n)

    def on_note(self, text: str) -> None:
        """Something the user should read."""
        tqdm.write(with_flags(text, self._settings), file=sys.stderr)

    def on_evaluation(self, line: dict[str, Any]) -> None:
        """The held-out pieces were measured."""
        tqdm.write(
            f"step {line['step']}: held-out completions {line['loss_valid']:.4f} nats per token, "
            f"{line['nats_per_note_valid']:.4f} nats per note",
            file=sys.stderr,
        )
