"""03_train.ipynb, used as a learner uses it: start, watch the curve, do something else, stop."""

import pytest
from playwright.sync_api import Locator

from rwkv_music import attach
from tests.browser.conftest import OpenNotebook
from tests.browser.lab import CELL_SECONDS, wait_until

pytestmark = pytest.mark.browser

MANY_STEPS = 100_000


def points_on(canvas: Locator) -> int:
    """Training steps that the chart has drawn."""
    return int(canvas.get_attribute("data-points") or 0)


def test_training_is_started_watched_and_stopped(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook("notebooks/03_train.ipynb")
    notebook.run_cell("choose-music")
    notebook.run_cell("show-exercise")
    assert notebook.output("show-exercise").locator("img").count() == 1
    notebook.replace_in_cell("start-training", "steps = 40 ", f"steps = {MANY_STEPS} ")
    notebook.replace_in_cell("start-training", "steps // 5", "20")
    notebook.run_cell("start-training")
    run = attach(notebook.python_value("str(run.path.resolve())"))
    try:
        panel = notebook.output("start-training")
        chart = panel.locator("canvas[data-points]")
        wait_until(lambda: points_on(chart) > 0, CELL_SECONDS, "the curve to begin")
        before = points_on(chart)
        wait_until(lambda: points_on(chart) > before, CELL_SECONDS, "the curve to grow")

        # While it goes on, the notebook is free, and what was learned so far can be tried.
        notebook.run_cell("still-free")
        assert notebook.python_value("1 + 1") == 2
        notebook.run_cell("continue-prompt")
        roll = notebook.output("continue-prompt").locator("canvas[data-notes]")
        wait_until(
            lambda: int(roll.get_attribute("data-notes") or 0) > 0, CELL_SECONDS, "its notes"
        )
        assert notebook.python_value("run.is_running")

        panel = notebook.output("start-training")
        panel.get_by_role("button", name="Stop").first.click()
        notebook.wait_for_python("panel.state == 'stopped'")
        assert run.status()["state"] == "stopped"
        trained = [line["step"] for line in run.metrics() if "loss_train" in line]
        assert 0 < len(trained) < MANY_STEPS
        wait_until(lambda: points_on(chart) == len(trained), CELL_SECONDS, "the last point")
        assert (run.path / "checkpoints" / "last.safetensors").exists()
    finally:
        run.stop()
        run.wait(CELL_SECONDS)
