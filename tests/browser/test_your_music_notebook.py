"""02_your_music.ipynb as a beginner uses it: run all, sort, filter, click, listen."""

import pytest
from playwright.sync_api import Locator

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import CELL_SECONDS, wait_until

pytestmark = pytest.mark.browser


def first_name(table: Locator) -> str | None:
    return table.locator("tbody tr").first.get_attribute("data-name")


def test_a_folder_is_examined_shown_and_played(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook("notebooks/02_your_music.ipynb")
    notebook.run_all()
    widget = notebook.output("open-doctor")
    notebook.wait_for_python("doctor.report is not None")
    table = widget.locator(".rwkv-files")
    table.wait_for()
    assert table.locator("tbody tr").count() == 9
    assert "Can I train on this?" in widget.inner_text()
    assert "1 file is of another kind and not examined: 1 .txt" in widget.inner_text()

    table.get_by_role("button", name="Notes").click()
    assert first_name(table) == "bell.mid"
    table.get_by_role("button", name="skipped 2").click()
    assert table.locator("tbody tr").count() == 2
    table.get_by_role("button", name="all 9").click()

    roll = widget.locator("canvas[data-notes]")
    table.locator('tr[data-name="snow.mid"]').click()
    wait_until(lambda: roll.get_attribute("data-notes") == "169", CELL_SECONDS, "its notes")
    widget.get_by_role("button", name="Play").click()
    notebook.wait_for_python("doctor.player.state == 'playing'")
    widget.get_by_role("button", name="Stop").click()
    notebook.wait_for_python("doctor.player.state == 'stopped'")

    table.locator('tr[data-name="lost.mid"]').click()
    widget.get_by_text("lost.mid cannot be shown").wait_for()

    assert "PITCH" in notebook.output("show-tokens").inner_text()
    assert notebook.output("show-example").locator("img").count() == 1
