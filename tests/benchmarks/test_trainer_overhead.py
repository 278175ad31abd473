"""The benchmark of the trainer beside the bare step runs on any folder of music."""

from pathlib import Path

from rwkv_music.score import save_score
from tests.benchmarks.quick import quick_report
from tests.music import tune


def test_quick_mode_writes_a_row_for_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "tunes"
    folder.mkdir()
    for seed in range(8):
        save_score(tune(bars=6, seed=seed), folder / f"{seed}.mid")
    (row,) = quick_report("trainer_overhead", tmp_path, "--corpora", str(folder))["rows"]
    assert row["corpus"] == "tunes"
    assert row["tokens"] > 0
    assert row["padding_packed"] < 0.05
    for name in ("trainer_over_bare", "packed_over_unpacked_per_token"):
        assert row[name]["lowest"] <= row[name]["median"] <= row[name]["highest"]
