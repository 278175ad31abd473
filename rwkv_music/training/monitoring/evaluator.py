"""Evaluations of a run: held-out losses, completed prompts, and signs of overfitting."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from rwkv_music.model import MusicModel
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.data_module import DataModule
from rwkv_music.training.monitoring.overfitting import CopyDetector
from rwkv_music.training.monitoring.samples import HeldOutSamples


class Evaluator:
    """Evaluates models on the held-out pieces.

    Args:
        data: The corpus and its split.
        config: Sets the number of sampled prompts and their seed.
    """

    def __init__(self, data: DataModule, config: TrainingConfig) -> None:
        self._data = data
        self.held_out = data.held_out()
        self.samples = HeldOutSamples.of(
            data.valid, num_prompts=config.run.sample_prompts, seed=config.run.seed
        )

    def losses(self, model: MusicModel, should_stop: Callable[[], bool]) -> dict[str, Any] | None:
        """Return the held-out losses for metrics.jsonl, or None if `should_stop` returned True."""
        likelihoods = self.held_out.likelihood_unless(model, should_stop)
        if likelihoods is None:
            return None
        completion, everything = likelihoods
        return {
            "loss_valid": completion.nats_per_token,
            "nats_per_note_valid": completion.nats_per_note,
            "bits_per_second_valid": completion.bits_per_second,
            "loss_by_kind_valid": completion.by_kind,
            "loss_valid_everything": everything.nats_per_token,
            "nats_per_note_valid_everything": everything.nats_per_note,
            "bits_per_second_valid_everything": everything.bits_per_second,
        }

    def complete_prompts(self, model: MusicModel, paths: list[Path]) -> int:
        """Complete the held-out prompts and return the longest run copied from a training piece."""
        scores = self.samples.complete(model, paths)
        return self.samples.longest_copied_run(self._detector, scores)

    def copy_warning(self, longest_copied_run: int) -> str | None:
        """Return a warning if the samples quote more than the held-out pieces themselves do."""
        return CopyDetector.warning(longest_copied_run, self._copied_by_composers)

    @cached_property
    def _detector(self) -> CopyDetector:
        return CopyDetector(self._data.train_pieces, self._data.tokenizer)

    @cached_property
    def _copied_by_composers(self) -> int:
        return self.samples.longest_copied_run(self._detector, self.samples.originals())
