"""Write the music of docs/gallery.md: what the shipped model makes of prompts of all kinds.

    python tools/gallery.py         # docs/gallery/*.mid and the table in docs/gallery.md

Each prompt is used once per task with seed 0 and default settings; nothing is selected. Prompts
are examples of this project, and tunes whose composers died long ago, typed here.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rwkv_music import continue_score, fill_score, load_model, load_score, save_score
from rwkv_music.score import num_bars, score_from_bytes, take_bars

if TYPE_CHECKING:
    import symusic

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "docs" / "gallery"
PAGE = REPOSITORY / "docs" / "gallery.md"
BEGIN, END = "<!-- begin pieces -->", "<!-- end pieces -->"
SEED = 0
PROMPT_BARS, NEW_BARS, WHOLE_BARS = 4, 8, 8

FILES = {
    "chorale": "examples/prompt.mid",
    "barn dance": "examples/music/barn dance.mid",
    "ferry waltz": "examples/music/ferry waltz.mid",
    "lantern march": "examples/music/lantern march.mid",
    "market jig": "examples/music/market jig.mid",
    "night watch": "examples/music/night watch.mid",
    "ballad": "rwkv_music/prompts/ballad.mid",
    "night drive": "rwkv_music/prompts/night drive.mid",
    "lullaby": "rwkv_music/prompts/lullaby.mid",
}
ABC = {
    "Ode to Joy (Beethoven, flute)": """X:1
M:4/4
L:1/4
Q:1/4=112
K:D
%%MIDI program 73
FFGA|AGFE|DDEF|F3/2E/E2|FFGA|AGFE|DDEF|E3/2D/D2|]
""",
    "Greensleeves (16th century, guitar)": """X:1
M:6/8
L:1/8
Q:3/8=60
K:Am
%%MIDI program 24
A|c2d e>fe|d2B G>AB|c2A A>^GA|B2^G E2A|c2d e>fe|d2B G>AB|c>BA ^G>^F^G|A3 A2|]
""",
    "Korobeiniki (Russian, 19th century, violin)": """X:1
M:4/4
L:1/8
Q:1/4=132
K:Am
%%MIDI program 40
e2Bc d2cB|A2Ac e2dc|B3c d2e2|c2A2 A4|zd2f a2gf|e3c e2dc|B2Bc d2e2|c2A2 A4|]
""",
}
ACCOMPANIED = {
    "barn dance": "Acoustic Bass",
    "ferry waltz": "String Ensemble 1",
    "market jig": "drums",
    "Ode to Joy (Beethoven, flute)": "Acoustic Grand Piano",
    "Greensleeves (16th century, guitar)": "Cello",
    "Korobeiniki (Russian, 19th century, violin)": "Acoustic Grand Piano",
}
FILLED = ("chorale", "barn dance", "ferry waltz", "lantern march", "market jig", "night watch")


@dataclass(frozen=True)
class Entry:
    """A piece of the gallery."""

    task: str
    prompt: str
    settings: str
    score: "symusic.Score"
    start: int
    """Tick at which the model's music begins."""

    @property
    def name(self) -> str:
        """Name of the file."""
        words = self.prompt.partition(" (")[0].lower().replace(" ", "-")
        return f"{self.task}-{words}"


def prompts() -> dict[str, "symusic.Score"]:
    """Return the scores of all prompts by name."""
    files = {name: load_score(REPOSITORY / path) for name, path in FILES.items()}
    tunes = {name: score_from_bytes(text.encode(), name="tune.abc") for name, text in ABC.items()}
    return {**files, **tunes}


def entries() -> Iterator[Entry]:
    """Generate every piece."""
    model, scores = load_model(), prompts()
    for name, score in scores.items():
        prompt = take_bars(score, 0, PROMPT_BARS)
        (piece,) = continue_score(model, prompt, bars=NEW_BARS, candidates=1, seed=SEED)
        settings = f"{NEW_BARS} bars after {PROMPT_BARS}"
        yield Entry("continue", name, settings, piece.score, piece.continuation_start or 0)
    for name in FILLED:
        whole = _beginning(scores[name])
        bars = (2, 3) if name == "chorale" else (4, 6)
        (filled,) = fill_score(model, whole, bars=bars, candidates=1, seed=SEED)
        settings = f"bars {bars[0]} to {bars[1]}"
        yield Entry("fill", name, settings, filled.score, filled.continuation_start)
    for name, part in ACCOMPANIED.items():
        whole = _beginning(scores[name])
        bars = (1, num_bars(whole))
        (filled,) = fill_score(model, whole, bars=bars, parts=[part], candidates=1, seed=SEED)
        yield Entry("accompany", name, f"new part: {part}", filled.score, 0)


def _beginning(score: "symusic.Score") -> "symusic.Score":
    return take_bars(score, 0, min(num_bars(score), WHOLE_BARS))


def main() -> int:
    """Write files and table."""
    FOLDER.mkdir(exist_ok=True)
    rows = ["| task | prompt | the model writes | listen |", "| --- | --- | --- | --- |"]
    starts = {}
    for entry in entries():
        save_score(entry.score, FOLDER / f"{entry.name}.mid")
        starts[entry.name] = entry.start
        link = f"[{entry.name}](gallery/{entry.name}.mid)"
        rows.append(f"| {entry.task} | {entry.prompt} | {entry.settings} | {link} |")
        print(entry.name, file=sys.stderr)
    text = json.dumps(starts, indent=1) + "\n"
    (FOLDER / "continuation_starts.json").write_text(text, encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(rows) + f"\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
