"""The comparison of optimizers trains each at each rate."""

from pathlib import Path

from rwkv_music.score import save_score
from tests.benchmarks.quick import quick_report
from tests.music import tune


def test_quick_mode_writes_a_row_for_each_optimizer_rate_and_seed(tmp_path: Path) -> None:
    folder = tmp_path / "tunes"
    for seed in range(12):
        save_score(tune(bars=6, seed=seed), folder / f"{seed}.mid")
    report = quick_report(
        "optimizers", tmp_path, "--corpus", str(folder), "--runs", str(tmp_path / "runs"),
        "--preset", "tiny", "--steps", "2", "--seeds", "3", "--rates", "0.001", "0.01",
    )  # fmt: skip
    assert [(row["optimizer"], row["learning_rate"], row["seed"]) for row in report["rows"]] == [
        ("adamw", 0.001, 3), ("adamw", 0.01, 3), ("adafactor", 0.001, 3), ("adafactor", 0.01, 3),
    ]  # fmt: skip
    assert len({row["loss_valid"] for row in report["rows"]}) == 4
