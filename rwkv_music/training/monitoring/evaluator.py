"""Evaluations of a run: held-out losses, completed prompts, and signs of overfitting."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rwkv_music.evaluation import HeldOut
from rwkv_music.model import MusicModel
from rwkv_music.training.data_module import DataModule
from rwkv_music.training.monitoring.overfitting import CopyDetector
from rwkv_music.training.monitoring.samples import HeldOutSamples


@dataclass(frozen=True)
class Evaluator:
    """Evaluates models on the held-out pieces."""

    data: DataModule
    """The corpus and its split."""
    num_prompts: int
    """Number of held-out prompts to complete."""
    seed: int
    """Seed of their completions."""

    @cached_property
    def held_out(self) -> HeldOut:
        """The windows that are measured."""
        return self.data.held_out()

    @cached_property
    def samples(self) -> HeldOutSamples:
        """The prompts to complete."""
        return HeldOutSamples.of(self.data.valid, num_prompts=self.num_prompts, seed=self.seed)

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
            "loss_by_type_valid": completion.by_type,
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
        return CopyDetector(self.data.train_pieces, self.data.tokenizer)

    @cached_property
    def _copied_by_composers(self) -> int:
        return self.samples.longest_copied_run(self._detector, self.samples.originals())
