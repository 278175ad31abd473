"""01_continue.ipynb as a musician uses it: run all, choose, generate, keep, export."""

from pathlib import Path

import pytest
from playwright.sync_api import Locator

from rwkv_music.score import load_score, num_bars
from tests.browser.conftest import OpenNotebook
from tests.browser.lab import CELL_SECONDS, wait_until

pytestmark = pytest.mark.browser


def notes_on(canvas: Locator) -> int:
    """Return the number of notes that a piano roll has drawn."""
    return int(canvas.get_attribute("data-notes") or 0)


def test_a_chorale_is_chosen_continued_kept_and_exported(
    lab_root: Path, open_notebook: OpenNotebook
) -> None:
    notebook = open_notebook("notebooks/01_continue.ipynb")
    notebook.run_all()
    widget = notebook.output("open-session")
    rolls = widget.locator("canvas[data-notes]")
    generate = widget.get_by_role("button", name="Generate")

    chorales = widget.get_by_label("Example")
    name = chorales.locator("option").nth(1).inner_text()
    chorales.select_option(label=name)
    notebook.wait_for_python(
        f"session.message == '' and session.controls.example.value == '{name}'"
    )
    notebook.python_value("session.wait()")
    prompt_notes = notebook.python_value("session.current.score.note_num()")
    assert prompt_notes > 0
    wait_until(lambda: notes_on(rolls.first) == prompt_notes, CELL_SECONDS, "the prompt's notes")
    assert notebook.python_value("session.current.continuation_start") is None

    generate.click()
    wait_until(lambda: rolls.count() == 4, CELL_SECONDS, "three candidates below the prompt")
    notebook.wait_for_python("len(session.candidates) == 3")
    new_notes = notebook.python_value("[node.new.note_num() for node in session.candidates]")
    assert all(count > 0 for count in new_notes)
    for index, count in enumerate(new_notes, start=1):
        roll, expected = rolls.nth(index), prompt_notes + count
        wait_until(lambda r=roll, n=expected: notes_on(r) == n, CELL_SECONDS, "the notes")
        assert rolls.nth(index).get_attribute("data-seam") != ""

    widget.get_by_role("button", name="Keep").nth(1).click()
    notebook.wait_for_python("session.current.parent is not None")
    assert notebook.python_value("session.current.new.note_num()") == new_notes[1]

    widget.get_by_role("button", name="Export").first.click()
    exported = lab_root / "notebooks" / "continuation.mid"
    wait_until(exported.exists, CELL_SECONDS, "the exported file")
    score = load_score(exported)
    assert score.note_num() == prompt_notes + new_notes[1]
    assert num_bars(score) >= 5

    widget.get_by_role("button", name="Undo").click()
    notebook.wait_for_python("session.current.parent is None")


def test_the_main_button_is_on_the_first_screen(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook("notebooks/01_continue.ipynb")
    notebook.page.set_viewport_size({"width": 1280, "height": 800})
    notebook.run_cell("open-session")
    notebook.python_value("session.wait()")
    output = notebook.output("open-session")
    generate = output.get_by_role("button", name="Generate")
    generate.wait_for()
    output.evaluate("area => area.closest('.jp-Cell').scrollIntoView({block: 'start'})")
    box = generate.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= 800


def test_the_cells_of_the_notebook_leave_files_that_load(
    lab_root: Path, open_notebook: OpenNotebook
) -> None:
    notebook = open_notebook("notebooks/01_continue.ipynb")
    notebook.run_all()
    whole = load_score(lab_root / "notebooks" / "out" / "continued.mid")
    new = load_score(lab_root / "notebooks" / "out" / "new-bars.mid")
    assert 0 < new.note_num() < whole.note_num()
    assert notebook.python_value("session.current.score.note_num()") == 56
