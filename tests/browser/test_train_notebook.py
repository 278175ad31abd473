"""03_train.ipynb as a learner uses it: start, watch the curve, do something else, stop."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator

from rwkv_music import attach
from rwkv_music.training import TrainingRun
from tests.browser.conftest import OpenNotebook
from tests.browser.lab import CELL_SECONDS, NotebookPage, wait_until

pytestmark = pytest.mark.browser

MANY_STEPS = 100_000


def points_on(canvas: Locator) -> int:
    """Return the number of training steps that the chart has drawn."""
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

        # During training the notebook is free, and the newest checkpoint can be used.
        notebook.run_cell("still-free")
        assert notebook.python_value("1 + 1") == 2
        notebook.run_cell("continue-prompt")
        roll = notebook.output("continue-prompt").locator("canvas[data-notes]")
        wait_until(
            lambda: int(roll.get_attribute("data-notes") or 0) > 0, CELL_SECONDS, "its notes"
        )
        assert notebook.python_value("run.is_running")

        use_every_button(notebook, run)
        trained = [line["step"] for line in run.metrics() if "loss_train" in line]
        assert trained == list(range(1, len(trained) + 1))
        assert len(trained) < MANY_STEPS
        # A cell that was scrolled out of view and back is drawn again.
        chart = notebook.output("start-training").locator("canvas[data-points]")
        wait_until(lambda: points_on(chart) == len(trained), CELL_SECONDS, "the last point")
    finally:
        run.stop()
        run.wait(CELL_SECONDS)


def use_every_button(notebook: NotebookPage, run: TrainingRun) -> None:
    """Pause, sample and save while paused, resume, stop, resume again, stop."""
    panel = notebook.output("start-training")

    def click(name: str) -> None:
        panel.get_by_role("button", name=name).first.click()

    def steps() -> int:
        return sum("loss_train" in line for line in run.metrics())

    click("Pause")
    notebook.wait_for_python("panel.state == 'paused'")
    waiting_at = steps()
    samples = notebook.python_value("len(panel.sample_choice.options)")
    click("Sample")
    notebook.wait_for_python(f"len(panel.sample_choice.options) > {samples}")
    click("Save")
    wait_until(
        lambda: run.directory.checkpoints().steps()[-1:] == [waiting_at], CELL_SECONDS, "Save"
    )
    assert steps() == waiting_at
    click("Resume")
    wait_until(lambda: steps() > waiting_at, CELL_SECONDS, "steps after the pause")
    stop(notebook, click)
    stopped_at = steps()
    assert run.status()["step"] == stopped_at
    click("Resume")
    wait_until(lambda: steps() > stopped_at, CELL_SECONDS, "steps after resuming")
    stop(notebook, click)
    assert notebook.python_value("run.status()['session']") == 2
    assert (run.path / "checkpoints" / "last.safetensors").exists()


def stop(notebook: NotebookPage, click: Callable[[str], None]) -> None:
    """Stop, and wait until the panel shows it."""
    notebook.wait_for_python("panel.state == 'running'")
    click("Stop")
    notebook.wait_for_python("panel.state == 'stopped'")
