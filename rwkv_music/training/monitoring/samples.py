"""Completions of the same held-out prompts at every evaluation: progress to hear and see."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rwkv_music.data import Windows
from rwkv_music.data.pieces import Piece
from rwkv_music.generation import continue_score
from rwkv_music.model import MusicModel
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.training.monitoring.overfitting import CopyDetector

if TYPE_CHECKING:
    import symusic

_SAMPLE_BARS = 4


@dataclass(frozen=True)
class HeldOutPrompt:
    """A prompt from a held-out piece, and the composer's own continuation."""

    name: str
    """Name of the piece."""
    prompt: "symusic.Score"
    original: "symusic.Score"
    """The prompt and the composer's own next bars, as far as there are any."""
    continuation_start: int

    @classmethod
    def of(cls, piece: Piece, tokenizer: Tokenizer, prompt_bars: int) -> "HeldOutPrompt":
        """Take the first bars of a piece in which every part plays; it has at least two bars."""
        from rwkv_music.score import bar_starts, num_bars, take_bars

        score = tokenizer.decode(piece.ids)
        bars = num_bars(score)
        given = max(1, min(prompt_bars, bars - 1))
        entries = [int(track.notes.numpy()["time"].min()) for track in score.tracks if track.notes]
        last_entry = int(np.searchsorted(bar_starts(score), max(entries, default=0), "right")) - 1
        first = min(last_entry, max(0, bars - given - _SAMPLE_BARS))
        prompt = take_bars(score, first, first + given)
        original = take_bars(score, first, min(bars, first + given + _SAMPLE_BARS))
        return cls(piece.name, prompt, original, int(bar_starts(prompt)[-1]))


class HeldOutSamples:
    """Prompts from the validation pieces, and their completions.

    Args:
        prompts: May be empty, for a run without samples.
        seed: The same at every evaluation, so that differences come from the model.
    """

    def __init__(self, prompts: list[HeldOutPrompt], *, seed: int) -> None:
        self.prompts = prompts
        self.seed = seed

    @classmethod
    def of(cls, windows: Windows, *, num_prompts: int, seed: int) -> "HeldOutSamples":
        """Take prompts from the longest validation pieces, the longest first."""
        tokenizer = windows.tokenizer
        by_length = sorted(windows.pieces, key=lambda piece: -tokenizer.num_bars(piece.ids))
        return cls(
            [
                HeldOutPrompt.of(piece, tokenizer, windows.prompt_bars)
                for piece in by_length[:num_prompts]
            ],
            seed=seed,
        )

    def description(self) -> list[dict[str, Any]]:
        """Return the samples section of config.json."""
        return [
            {
                "piece": prompt.name,
                "continuation_start": prompt.continuation_start,
                "ticks_per_quarter": prompt.prompt.ticks_per_quarter,
                "bars": _SAMPLE_BARS,
                "seed": self.seed,
            }
            for prompt in self.prompts
        ]

    def write_prompts(self, folder: Path) -> None:
        """Save the prompts as prompt-1.mid and so on."""
        from rwkv_music.score import save_score

        for index, prompt in enumerate(self.prompts, start=1):
            save_score(prompt.prompt, folder / f"prompt-{index}.mid")

    def complete(self, model: MusicModel, paths: list[Path]) -> "list[symusic.Score]":
        """Complete each prompt with the current model and save a MIDI file and a picture of each.

        Args:
            model: Put into evaluation mode meanwhile.
            paths: Of the MIDI files, one per prompt; each picture is saved beside it as .png.

        Returns:
            Prompts with their completions.
        """
        from rwkv_music.score import save_piano_roll, save_score

        was_training = model.network.training
        model.network.eval()
        scores = []
        for prompt, path in zip(self.prompts, paths, strict=True):
            candidate = continue_score(
                model, prompt.prompt, bars=_SAMPLE_BARS, candidates=1, seed=self.seed
            )[0]
            save_score(candidate.score, path)
            save_piano_roll(
                candidate.score,
                path.with_suffix(".png"),
                continuation_start=prompt.continuation_start,
            )
            scores.append(candidate.score)
        model.network.train(was_training)
        return scores

    def longest_copied_run(self, detector: CopyDetector, scores: "list[symusic.Score]") -> int:
        """Return the longest run of continued notes that is found in a training piece."""
        runs = [
            detector.longest_run(score, prompt.continuation_start)
            for prompt, score in zip(self.prompts, scores, strict=True)
        ]
        return max(runs, default=0)

    def originals(self) -> "list[symusic.Score]":
        """Return the prompts with the composers' own continuations."""
        return [prompt.original for prompt in self.prompts]
