"""Keys pressed in a widget stay there: JupyterLab does not change or delete the cell."""

from pathlib import Path

import pytest
from playwright.sync_api import Locator

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import CELL_SECONDS, NotebookPage, wait_until
from tests.browser.test_lab_rig import write_notebook

pytestmark = pytest.mark.browser

CELLS = (
    "() => [...document.querySelectorAll('.jp-Notebook .jp-Cell')].map((cell) => cell.className)"
)


def press(target: Locator, *keys: str) -> None:
    target.focus()
    for key in keys:
        target.press(key)


def number_of_code_cells(notebook: NotebookPage) -> int:
    return sum("jp-CodeCell" in name for name in notebook.page.evaluate(CELLS))


def test_shortcuts_for_single_keys_do_not_reach_the_notebook(
    lab_root: Path, open_notebook: OpenNotebook
) -> None:
    write_notebook(
        lab_root / "keys.ipynb",
        first="from rwkv_music_widgets import *\nfrom rwkv_music import load_score",
        session="session = ContinuationSession('bach', load_score('examples/prompt.mid'))\nsession",
        last="pass",
    )
    notebook = open_notebook("keys.ipynb")
    notebook.run_all()
    widget = notebook.output("session")
    canvas = widget.locator("canvas[data-notes]").first
    stop = widget.get_by_role("button", name="Stop").first
    slider = widget.get_by_role("slider").first
    canvas.wait_for()
    for target in (canvas, stop, slider):
        press(target, "m", "d", "d", "x", "a", "y")
    assert number_of_code_cells(notebook) == 3
    press(canvas, "Space")
    notebook.wait_for_python("session.player.state == 'playing'")
    press(canvas, "Space")
    notebook.wait_for_python("session.player.state == 'paused'")

    # With the focus outside, the shortcuts are the notebook's again.
    notebook.run_cell("last")
    notebook.page.evaluate("() => document.activeElement.blur()")
    notebook.command("notebook:enter-command-mode")
    notebook.page.keyboard.press("m")
    wait_until(lambda: number_of_code_cells(notebook) == 2, CELL_SECONDS, "a Markdown cell")


def test_the_player_knows_when_the_music_has_ended(
    lab_root: Path, open_notebook: OpenNotebook
) -> None:
    write_notebook(
        lab_root / "end.ipynb",
        show="from rwkv_music_widgets import *\nfrom rwkv_music import load_score\n"
        "from rwkv_music.score import take_bars\n"
        "roll = PianoRoll(take_bars(load_score('examples/prompt.mid'), 0, 1))\n"
        "player = Player(roll)\ndisplay(roll, player)",
    )
    notebook = open_notebook("end.ipynb")
    notebook.run_all()
    notebook.output("show").get_by_role("button", name="Play").click()
    notebook.wait_for_python("player.state == 'playing'")
    notebook.wait_for_python("player.state == 'stopped'")
