"""The same held-out prompt, completed at every evaluation: progress one can hear."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.data import Windows
from rwkv_music.generation import continue_score
from rwkv_music.model import RWKV7

if TYPE_CHECKING:
    import symusic

_SAMPLE_BARS = 4


class HeldOutSample:
    """A prompt from the validation pieces, and how it is completed.

    Args:
        name: The piece it comes from.
        prompt: Its first bars.
        bars: Bars to add.
        seed: The same at every step, so that differences come from the model.
    """

    def __init__(self, *, name: str, prompt: "symusic.Score", bars: int, seed: int) -> None:
        self.name = name
        self.prompt = prompt
        self.bars = bars
        self.seed = seed

    @classmethod
    def of(cls, windows: Windows, *, seed: int) -> "HeldOutSample":
        """The beginning of the longest validation piece (the first one of that length)."""
        from rwkv_music.score import num_bars, take_bars

        tokenizer = windows.tokenizer
        piece = max(windows.pieces, key=lambda each: tokenizer.num_bars(each.ids))
        score = tokenizer.decode(piece.ids)
        bars = min(windows.prompt_bars, num_bars(score) - 1)
        prompt = take_bars(score, 0, bars)
        return cls(name=piece.name, prompt=prompt, bars=_SAMPLE_BARS, seed=seed)

    def description(self) -> dict[str, Any]:
        """What config.json says of it: where the completion begins, and whose it is."""
        from rwkv_music.score import bar_starts

        return {
            "piece": self.name,
            "seam_tick": int(bar_starts(self.prompt)[-1]),
            "ticks_per_quarter": self.prompt.ticks_per_quarter,
            "bars": self.bars,
            "seed": self.seed,
        }

    def write_prompt(self, path: Path) -> None:
        """Save the prompt alone."""
        from rwkv_music.score import save_score

        save_score(self.prompt, path)

    def complete(self, model: RWKV7, path: Path) -> None:
        """Complete the prompt with the model as it is now, and save prompt and completion."""
        from rwkv_music.score import save_score

        was_training = model.training
        model.eval()
        pieces = continue_score(model, self.prompt, bars=self.bars, candidates=1, seed=self.seed)
        model.train(was_training)
        save_score(pieces[0].score, path)
