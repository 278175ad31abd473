"""The helpers that the other browser tests use."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.browser.conftest import OpenNotebook

pytestmark = pytest.mark.browser


def write_notebook(path: Path, **cells: str) -> None:
    """Write a notebook whose cells have these ids and sources."""
    notebook = new_notebook(cells=[new_code_cell(text, id=name) for name, text in cells.items()])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, path)


def test_cells_run_and_python_answers(lab_root: Path, open_notebook: OpenNotebook) -> None:
    write_notebook(lab_root / "rig.ipynb", first="x = 20", second="x = x + 1", third="x = x * 2")
    notebook = open_notebook("rig.ipynb")
    notebook.run_all()
    assert notebook.python_value("{'x': x, 'half': x / 2}") == {"x": 42, "half": 21.0}
    notebook.run_cell("second")
    assert notebook.python_value("x") == 43
    with pytest.raises(RuntimeError, match="NameError: name 'y' is not defined"):
        notebook.python_value("y")


def test_a_failing_cell_is_reported(lab_root: Path, open_notebook: OpenNotebook) -> None:
    write_notebook(lab_root / "failing.ipynb", only="1 / 0")
    notebook = open_notebook("failing.ipynb")
    with pytest.raises(RuntimeError, match="a cell failed: ZeroDivisionError"):
        notebook.run_all()


def test_complaints_of_the_browser_are_collected(
    lab_root: Path, open_notebook: OpenNotebook
) -> None:
    write_notebook(lab_root / "quiet.ipynb", only="pass")
    notebook = open_notebook("quiet.ipynb")
    notebook.page.evaluate("() => console.error('a false note')")
    notebook.page.evaluate("() => { setTimeout(() => { throw new Error('a wrong key') }) }")
    notebook.page.wait_for_timeout(100)
    assert [line.split(" (")[0] for line in notebook.complaints] == ["a false note", "a wrong key"]
    notebook.complaints.clear()


def test_the_theme_can_be_changed(lab_root: Path, open_notebook: OpenNotebook) -> None:
    write_notebook(lab_root / "dark.ipynb", only="pass")
    notebook = open_notebook("dark.ipynb")
    is_light = "() => document.body.dataset.jpThemeLight"
    for theme, expected in (("dark", "false"), ("light", "true")):
        notebook.set_theme(theme)
        assert notebook.page.evaluate(is_light) == expected
