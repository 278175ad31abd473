"""Renew the pictures in the README: `make screenshots`.

    python -m tests.browser.screenshots FOLDER [NOTEBOOK ...]

Opens the notebooks in JupyterLab, brings them to where there is something to see, and takes a
picture of the widget, once in the light and once in the dark theme.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from tests.browser.lab import (
    BROWSER_FLAGS,
    CELL_SECONDS,
    LabServer,
    NotebookPage,
    find_browser,
    wait_until,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REPOSITORY = Path(__file__).resolve().parents[2]
TRAINING_SECONDS = 600


def show_continuation(notebook: NotebookPage) -> str:
    """Open the session and generate; return the id of the cell to photograph."""
    notebook.run_cell("open-session")
    notebook.python_value("session.wait()")
    notebook.run_python("session.controls.num_candidates.value = 2")
    notebook.run_python("session.controls.new_seed.value = False")
    session = notebook.output("open-session")
    session.get_by_role("button", name="Generate").click()
    rolls = session.locator("canvas[data-notes]")
    wait_until(lambda: rolls.count() > 1, CELL_SECONDS, "candidates")
    notebook.python_value("session.wait()")
    return "open-session"


def show_rewriting(notebook: NotebookPage) -> str:
    """Vary two bars; return the id of the cell to photograph."""
    notebook.run_cell("open-session")
    notebook.python_value("session.wait()")
    notebook.run_python("session.controls.num_candidates.value = 2")
    notebook.run_python("session.controls.new_seed.value = False")
    session = notebook.output("open-session")
    notebook.run_python(
        "from rwkv_music.score import bar_starts; "
        "session.roll.selection = bar_starts(session.roll.score)[[2, 4]].tolist()"
    )
    session.get_by_role("button", name="Vary").click()
    rolls = session.locator("canvas[data-notes]")
    wait_until(lambda: rolls.count() > 1, CELL_SECONDS, "candidates")
    notebook.python_value("session.wait()")
    return "open-session"


def show_training(notebook: NotebookPage) -> str:
    """Train to the end; return the id of the cell to photograph."""
    for cell in ("choose-music", "show-exercise", "start-training"):
        notebook.run_cell(cell)
    notebook.wait_for_python("panel.state == 'finished'", seconds=TRAINING_SECONDS)
    return "start-training"


def show_doctor(notebook: NotebookPage) -> str:
    """Examine the folder and choose a file; return the id of the cell to photograph."""
    for cell in ("choose-folder", "open-doctor"):
        notebook.run_cell(cell)
    notebook.python_value("doctor.wait() is not None")
    widget = notebook.output("open-doctor")
    widget.locator('tr[data-name="snow.mid"]').click()
    notebook.wait_for_python("doctor.roll.score.note_num() > 0")
    return "open-doctor"


SHOWS = {
    "01_continue": show_continuation,
    "02_your_music": show_doctor,
    "03_train": show_training,
    "05_rewrite_and_accompany": show_rewriting,
}


def take_pictures(server: LabServer, browser: "Browser", name: str, folder: Path) -> None:
    """Photograph one notebook, light and dark."""
    # Tall enough for all of it: what is out of sight is not drawn.
    context = browser.new_context(viewport={"width": 1100, "height": 2000}, device_scale_factor=1.5)
    notebook = NotebookPage(server, context, f"notebooks/{name}.ipynb")
    notebook.command("application:toggle-left-area")
    cell = SHOWS[name](notebook)
    for theme in ("dark", "light"):
        notebook.set_theme(theme)
        output = notebook.output(cell)
        output.locator(f'canvas[data-theme="{theme}"]').first.wait_for()
        path = folder / f"{name}-{theme}.png"
        output.locator(".widget-vbox").first.screenshot(path=path)
        print(path)
    context.close()


def main(folder: Path, names: Sequence[str] = tuple(SHOWS)) -> None:
    """Take all pictures, or those of the notebooks that are named."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        for part in ("notebooks", "examples"):
            shutil.copytree(REPOSITORY / part, Path(temporary) / part)
        browser = playwright.chromium.launch(executable_path=find_browser(), args=BROWSER_FLAGS)
        with LabServer(Path(temporary)) as server:
            for name in names:
                take_pictures(server, browser, name, folder)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or tuple(SHOWS))
