"""The benchmark of the state's memory runs on any folder of music."""

import json
import math
from pathlib import Path

from rwkv_music.score import save_score
from tests.benchmarks.quick import REPOSITORY, quick_report
from tests.music import tune


def test_quick_mode_writes_a_row_for_each_length(tmp_path: Path) -> None:
    folder = tmp_path / "tunes"
    folder.mkdir()
    held_out = json.loads((REPOSITORY / "rwkv_music/models/pop.json").read_text())["valid_pieces"]
    for seed, name in enumerate(held_out[:3]):
        save_score(tune(bars=30, seed=seed), folder / name)
    save_score(tune(bars=30, seed=9), folder / "learnt.mid")
    report = quick_report(
        "long_context", tmp_path, f"pop={folder}", "--texts", "1", "--lengths", "100", "300"
    )
    assert [(row["model"], row["length"]) for row in report["rows"]] == [
        ("pop", 100),
        ("pop", 300),
    ]
    assert all(math.isfinite(row["carried"]) for row in report["rows"])
    # Both are shorter than what is read at once: no state was carried yet.
    assert all(row["carried"] == row["reset"] for row in report["rows"])
