"""The memory benchmark measures a step and the head, each in a process of its own."""

from pathlib import Path

import pytest

from benchmarks.step_memory import FORMS, HEADS
from tests.benchmarks.quick import quick_report


@pytest.mark.long
def test_quick_mode_writes_a_row_for_each_form(tmp_path: Path) -> None:
    report = quick_report("step_memory", tmp_path)
    assert [row["form"] for row in report["rows"]] == list(FORMS)
    assert [row["form"] for row in report["heads"]] == list(HEADS)
    for row in (*report["rows"], *report["heads"]):
        assert row["peak_bytes"] > 0
