"""The benchmark of token stores in quick mode has all its values."""

from pathlib import Path

from benchmarks.store import links
from tests.benchmarks.quick import quick_report
from tests.stores import write_tunes


def test_quick_mode_measures_cost_speed_and_windows(tmp_path: Path) -> None:
    music = write_tunes(tmp_path / "music", 12)
    report = quick_report("store", tmp_path, "--music", str(music), "--workers", "1")
    assert [row["size"] for row in report["rows"]] == [20, 40]
    assert [row["files"] for row in report["rows"]] == [20, 40]
    for row in report["rows"]:
        assert row["skipped"] == 0
        assert row["bytes"] > 2 * row["tokens"]
        assert row["peak_bytes"] > 1 << 20
    assert report["speed"]["store"]["files"] == report["speed"]["files"] == 15
    assert [row["max_tokens"] for row in report["windows"]] == [1024, 4096]


def test_files_are_linked_repeatedly_under_different_names(tmp_path: Path) -> None:
    music = write_tunes(tmp_path / "music", 3, first=1)
    actual = list(links([music], tmp_path / "many", 2500))
    assert len({link for _, link in actual}) == 2500
    assert len({target for target, _ in actual}) == 3
    assert {link.parent.name for _, link in actual} == {"000", "001", "002"}
