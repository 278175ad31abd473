"""A page with the first candidates of an evaluation to see and hear, none left out."""

import html
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rwkv_music.atomic import write_atomic
from rwkv_music.playback import save_sound
from rwkv_music.score import save_piano_roll, save_score

if TYPE_CHECKING:
    import symusic

CANDIDATES = 10
"""Candidates of each model on the page."""


class _Candidate(NamedTuple):
    prompt: str
    model: str
    score: "symusic.Score"
    continuation_start: int


class CandidatePage:
    """Collects candidates: of each model the first ones, spread over the sets.

    Example:
        page = CandidatePage()
        evaluate_models(models, sets, on_candidate=page.add)
        page.write(Path("evaluation"))
    """

    def __init__(self) -> None:
        self._by_set: dict[str, dict[str, list[_Candidate]]] = {}

    def add(self, prompt: str, model: str, score: "symusic.Score", continuation_start: int) -> None:
        """Add a candidate.

        Args:
            prompt: Name of its set and piece.
            model: Name of the model.
            score: Prompt and new bars.
            continuation_start: Tick at which the new bars begin.
        """
        of_model = self._by_set.setdefault(model, {})
        candidates = of_model.setdefault(prompt.split(", ", maxsplit=1)[0], [])
        if len(candidates) < CANDIDATES:
            candidates.append(_Candidate(prompt, model, score, continuation_start))

    def chosen(self) -> list[_Candidate]:
        """Return the candidates of the page: by turns the next one of each set."""
        chosen = []
        for of_model in self._by_set.values():
            turns = [
                candidates[turn]
                for turn in range(CANDIDATES)
                for candidates in of_model.values()
                if turn < len(candidates)
            ]
            chosen += turns[:CANDIDATES]
        return chosen

    def write(self, folder: Path) -> None:
        """Write index.html, and a MIDI file, picture and sound for each candidate."""
        # Compressed where the optional package is installed: a wave file has 10 MB a minute.
        suffix = ".ogg" if find_spec("soundfile") else ".wav"
        sections = []
        for index, candidate in enumerate(self.chosen(), start=1):
            name = f"candidate-{index:02}"
            start = candidate.continuation_start
            save_score(candidate.score, folder / f"{name}.mid")
            save_piano_roll(candidate.score, folder / f"{name}.png", continuation_start=start)
            save_sound(candidate.score, folder / f"{name}{suffix}")
            sections.append(
                f"<h2>{html.escape(candidate.model)}: {html.escape(candidate.prompt)}</h2>\n"
                f'<img src="{name}.png" alt="Piano roll; the continuation begins at the line">\n'
                f'<audio controls preload="none" src="{name}{suffix}"></audio> '
                f'<a href="{name}.mid">MIDI</a>'
            )
        page = _HEAD + "\n".join(sections) + "\n</html>\n"
        write_atomic(folder / "index.html", page.encode("utf-8", "replace"))


_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Candidates</title>
<style>
body { font-family: sans-serif; margin: 2em auto; max-width: 60em; }
img { display: block; max-width: 100%; }
</style>
<h1>Unselected candidates</h1>
<p>Four bars are given, eight bars are new; they begin at the dashed line.</p>
"""
