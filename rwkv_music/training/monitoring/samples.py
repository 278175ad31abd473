"""The same held-out prompts, completed at every look: progress one can hear and see."""

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
    """Bars of a held-out piece, from where all its parts have entered, and how it goes on."""

    name: str
    """The piece it comes from."""
    prompt: "symusic.Score"
    original: "symusic.Score"
    """The prompt and the composer's own next bars, as far as there are any."""
    continuation_start: int

    @classmethod
    def of(cls, piece: Piece, tokenizer: Tokenizer, prompt_bars: int) -> "HeldOutPrompt":
        """The first bars of a piece in which every part plays; it has at least two bars."""
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
    """Prompts from the validation pieces, and how they are completed.

    Args:
        prompts: At least one, or none at all for a run without samples.
        seed: The same at every step, so that differences come from the model.
    """

    def __init__(self, prompts: list[HeldOutPrompt], *, seed: int) -> None:
        self.prompts = prompts
        self.seed = seed

    @classmethod
    def of(cls, windows: Windows, *, number: int, seed: int) -> "HeldOutSamples":
        """Prompts from the longest validation pieces, in the order of their lengths."""
        tokenizer = windows.tokenizer
        by_length = sorted(windows.pieces, key=lambda each: -tokenizer.num_bars(each.ids))
        return cls(
            [HeldOutPrompt.of(each, tokenizer, windows.prompt_bars) for each in by_length[:number]],
            seed=seed,
        )

    def description(self) -> list[dict[str, Any]]:
        """What config.json says of each: where the completion begins, and whose piece it is."""
        return [
            {
                "piece": each.name,
                "seam_tick": each.continuation_start,
                "ticks_per_quarter": each.prompt.ticks_per_quarter,
                "bars": _SAMPLE_BARS,
                "seed": self.seed,
            }
            for each in self.prompts
        ]

    def write_prompts(self, folder: Path) -> None:
        """Save the prompts alone, as prompt-1.mid and so on."""
        from rwkv_music.score import save_score

        for number, each in enumerate(self.prompts, start=1):
            save_score(each.prompt, folder / f"prompt-{number}.mid")

    def complete(self, model: MusicModel, paths: list[Path]) -> "list[symusic.Score]":
        """Complete each prompt with the model as it is now; a MIDI file and a picture of each.

        Args:
            model: Put in evaluation mode for the time.
            paths: Of the MIDI files, one a prompt; the pictures stand beside them as .png.

        Returns:
            Prompts and completions.
        """
        from rwkv_music.score import save_piano_roll, save_score

        was_training = model.network.training
        model.network.eval()
        scores = []
        for each, path in zip(self.prompts, paths, strict=True):
            made = continue_score(
                model, each.prompt, bars=_SAMPLE_BARS, candidates=1, seed=self.seed
            )[0]
            save_score(made.score, path)
            save_piano_roll(
                made.score, path.with_suffix(".png"), continuation_start=each.continuation_start
            )
            scores.append(made.score)
        model.network.train(was_training)
        return scores

    def longest_copied_run(self, detector: CopyDetector, scores: "list[symusic.Score]") -> int:
        """The longest run of notes behind a seam that stands in a training piece."""
        runs = [
            detector.longest_run(score, each.continuation_start)
            for each, score in zip(self.prompts, scores, strict=True)
        ]
        return max(runs, default=0)

    def originals(self) -> "list[symusic.Score]":
        """How the prompts really go on."""
        return [each.original for each in self.prompts]
