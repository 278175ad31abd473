"""The tables of the documentation equal the stored results."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measuring import RESULTS
from benchmarks.reports import table
from benchmarks.tables import PAGES, TABLES, updated
from tests.benchmarks.quick import REPOSITORY


def check(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.tables", "--check", *options]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_the_pages_equal_the_results() -> None:
    done = check()
    assert done.returncode == 0, done.stderr


def test_a_figure_changed_by_hand_fails_the_check(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    text = next(path for path in PAGES if path.name == page.name).read_text(encoding="utf-8")
    page.write_text(text.replace("| -: |", "| -: | 1 |", 1), encoding="utf-8")
    done = check("--pages", str(page))
    assert done.returncode == 1
    assert "run python -m benchmarks.tables" in done.stderr


@pytest.mark.parametrize("name", TABLES)
def test_every_stored_result_is_on_one_page(name: str) -> None:
    assert (RESULTS / f"{name}.json").exists()
    begin = f"<!-- begin {name} -->"
    assert sum(page.read_text(encoding="utf-8").count(begin) for page in PAGES) == 1


def test_results_of_quick_mode_are_refused(tmp_path: Path) -> None:
    report = {"settings": {"quick": True}, "rows": []}
    (tmp_path / "decode.json").write_text(json.dumps(report), encoding="utf-8")
    with pytest.raises(AssertionError, match="quick mode"):
        updated("<!-- begin decode -->\n<!-- end decode -->", tmp_path)


def test_a_table_aligns_its_figures_to_the_right() -> None:
    assert table(("who", "ms"), [["ours", "1"]]) == "| who | ms |\n| - | -: |\n| ours | 1 |"
