"""JupyterLab over copies of the guided notebooks, so that no test writes into the repository."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.lab import LabServer, NotebookPage

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

REPOSITORY = Path(__file__).resolve().parents[2]

OpenNotebook = Callable[[str], NotebookPage]


@pytest.fixture(scope="session")
def lab_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with copies of the notebooks and examples."""
    root = tmp_path_factory.mktemp("lab")
    for name in ("notebooks", "examples"):
        shutil.copytree(REPOSITORY / name, root / name)
    return root


@pytest.fixture(scope="session")
def lab_server(lab_root: Path, chromium: "Browser") -> Iterator[LabServer]:
    """One JupyterLab for all these tests (and none where there is no browser)."""
    with LabServer(lab_root, environment={"RWKV_MUSIC_SMOKE": "1"}) as server:
        yield server


@pytest.fixture
def open_notebook(lab_server: LabServer, chromium: "Browser") -> Iterator[OpenNotebook]:
    """Open notebooks, each in its own window; errors on the browser's console fail the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    opened: list[NotebookPage] = []

    def open_page(name: str) -> NotebookPage:
        opened.append(NotebookPage(lab_server, context, name))
        return opened[-1]

    yield open_page
    complaints = [line for page in opened for line in page.complaints]
    context.close()
    assert complaints == []


@pytest.fixture
def page(chromium: "Browser") -> "Iterator[Page]":
    """Open a bare page, without JupyterLab; errors on the browser's console fail the test."""
    context = chromium.new_context(viewport={"width": 900, "height": 500})
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "console", lambda said: complaints.append(said.text) if said.type == "error" else None
    )
    yield opened
    context.close()
    assert complaints == []
