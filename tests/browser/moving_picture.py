"""Renew the moving picture of the README: `make screenshots` does it as well.

    python -m tests.browser.moving_picture docs/images/continue.gif

Films notebook 01 in JupyterLab: the prompt, candidates that grow while they are sampled, playing.
"""

import io
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageChops
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
    from playwright.sync_api import Locator

REPOSITORY = Path(__file__).resolve().parents[2]
WIDTH = 800
COLORS = 224
SHORTEST_MS, LONGEST_MS = 120, 700
HOLD_MS = 1800
NUM_PLAYED = 24
MAX_BYTES = 3_000_000


class Film:
    """Pictures of an element and how long each is shown.

    Args:
        element: The element to film.
    """

    def __init__(self, element: "Locator") -> None:
        self._element = element
        self._taken = 0.0
        self.frames: list[Image.Image] = []
        self.durations: list[int] = []

    def take(self) -> None:
        """Take a picture; one like the one before only makes that last longer."""
        picture = Image.open(io.BytesIO(self._element.screenshot())).convert("RGB")
        height = round(picture.height * WIDTH / picture.width)
        picture = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
        now = time.monotonic()
        if self.frames:
            elapsed_ms = round(1000 * (now - self._taken))
            self.durations[-1] = min(max(elapsed_ms, SHORTEST_MS), LONGEST_MS)
            if _is_same(self.frames[-1], picture):
                return
        self._taken = now
        self.frames.append(picture)
        self.durations.append(SHORTEST_MS)

    def hold(self) -> None:
        """Show the newest picture for a while."""
        self.take()
        self.durations[-1] = HOLD_MS
        self._taken = time.monotonic()

    def take_until(self, done: Callable[[], bool]) -> None:
        """Take pictures until something is done."""

        def look() -> bool:
            self.take()
            return done()

        wait_until(look, CELL_SECONDS, "what is filmed")

    def save(self, path: Path) -> None:
        """Write a GIF that repeats forever.

        Raises:
            ValueError: If it is too large for a README.
        """
        height = max(frame.height for frame in self.frames)
        palette = self.frames[-1].quantize(COLORS, method=Image.Quantize.FASTOCTREE)
        pages = []
        for frame in self.frames:
            page = Image.new("RGB", (WIDTH, height), "white")
            page.paste(frame)
            pages.append(page.quantize(palette=palette, dither=Image.Dither.NONE))
        pages[0].save(
            path,
            save_all=True,
            append_images=pages[1:],
            duration=self.durations,
            loop=0,
            optimize=True,
        )
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path} has {path.stat().st_size} bytes, at most {MAX_BYTES}")


def _is_same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and ImageChops.difference(one, other).getbbox() is None


def film_session(notebook: NotebookPage) -> Film:
    """Generate two candidates in the session of the notebook and play the first."""
    notebook.run_cell("open-session")
    notebook.python_value("session.wait()")
    notebook.run_python(
        "session.controls.num_candidates.value, session.controls.bars.value = 2, 8\n"
        "session.controls.new_seed.value = False"
    )
    output = notebook.output("open-session")
    output.locator("canvas[data-notes]").first.wait_for()
    film = Film(output.locator(".widget-vbox").first)
    film.hold()
    output.get_by_role("button", name="Generate").click()
    film.take_until(lambda: bool(notebook.python_value("len(session.candidates) == 2")))
    notebook.python_value("session.wait()")
    film.hold()
    output.get_by_role("button", name="New part").nth(1).click()
    for _ in range(NUM_PLAYED):
        film.take()
    return film


def main(path: Path) -> None:
    """Film the notebook and write the GIF."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        for part in ("notebooks", "examples"):
            shutil.copytree(REPOSITORY / part, Path(folder) / part)
        browser = playwright.chromium.launch(executable_path=find_browser(), args=BROWSER_FLAGS)
        with LabServer(Path(folder)) as server:
            context = browser.new_context(viewport={"width": 1100, "height": 2000})
            notebook = NotebookPage(server, context, "notebooks/01_continue.ipynb")
            notebook.command("application:toggle-left-area")
            film = film_session(notebook)
        browser.close()
    film.save(path)
    print(path, len(film.frames), "pictures,", path.stat().st_size, "bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
