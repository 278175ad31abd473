"""Bars and parts are selected on the roll, with the mouse and with keys, and written anew."""

import pytest
from playwright.sync_api import Page
from rwkv_music_widgets import PianoRoll

from tests.browser.bare_page import ROLL, show
from tests.browser.conftest import OpenNotebook
from tests.browser.lab import CELL_SECONDS, wait_until
from tests.music import BAR, tune

pytestmark = pytest.mark.browser

CANVAS = "canvas[role=img]"


@pytest.fixture
def roll(page: Page) -> PianoRoll:
    roll = PianoRoll(tune(bars=8))
    roll.can_edit = True
    show(page, roll, ROLL)
    return roll


def marked(page: Page, name: str) -> int:
    page.evaluate(
        "() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))"
    )
    return int(page.locator(CANVAS).get_attribute(f"data-{name}") or 0)


def num_notes(roll: PianoRoll, first: int, last: int, parts: tuple[int, ...] = (0, 1)) -> int:
    return sum(
        first <= note.time < last for part in parts for note in roll.score.tracks[part].notes
    )


def test_bars_and_parts_are_selected_with_keys(page: Page, roll: PianoRoll) -> None:
    page.locator(CANVAS).focus()
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate("model.values.selection") == [0, BAR]
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate("model.values.selection") == [0, 2 * BAR]
    assert page.locator(".rwkv-roll-status").inner_text() == "selected: bars 1 to 2, all parts"
    assert marked(page, "region") == num_notes(roll, 0, 2 * BAR)
    page.keyboard.press("2")
    assert page.evaluate("model.values.selected_parts") == [1]
    assert page.locator(".rwkv-roll-status").inner_text() == "selected: bars 1 to 2, part 1"
    assert marked(page, "region") == num_notes(roll, 0, 2 * BAR, (1,))


def test_parts_are_selected_and_locked_with_the_mouse(page: Page, roll: PianoRoll) -> None:
    page.get_by_role("button", name="Select part 1").click()
    assert page.evaluate("model.values.selected_parts") == [1]
    page.get_by_role("button", name="Lock part 0").click()
    assert page.evaluate("model.values.locked_parts") == [0]
    page.evaluate("model.fire('change:locked_parts')")
    assert marked(page, "locked") == len(roll.score.tracks[0].notes)


def test_a_note_is_locked_by_a_click_and_by_a_key(page: Page, roll: PianoRoll) -> None:
    page.locator(CANVAS).focus()
    page.keyboard.press(".")
    page.keyboard.press("l")
    (locked,) = page.evaluate("model.values.locked_notes")
    first = {(i, t.notes[0].time, t.notes[0].pitch) for i, t in enumerate(roll.score.tracks)}
    assert tuple(locked) in first
    assert marked(page, "locked") == 1
    box = page.locator(CANVAS).bounding_box()
    assert box is not None
    # The rows of the roll: two more than the highest note above it, two below the lowest one.
    pitches = [note.pitch for track in roll.score.tracks for note in track.notes]
    rows = max(pitches) - min(pitches) + 5
    y = box["y"] + 36 + (max(pitches) + 2 - locked[2] + 0.5) * (box["height"] - 36) / rows
    page.mouse.click(box["x"] + 50, y)
    assert page.evaluate("model.values.locked_notes") == []
    assert page.evaluate("model.values.selection") == []


def test_a_roll_that_cannot_be_edited_keeps_a_click_for_the_selection(page: Page) -> None:
    show(page, PianoRoll(tune(bars=2)), ROLL)
    page.locator(CANVAS).focus()
    page.keyboard.press(".")
    page.keyboard.press("l")
    page.keyboard.press("1")
    assert page.evaluate("model.values.locked_notes") == []
    assert page.evaluate("model.values.selected_parts") == []
    assert page.get_by_role("button", name="Lock part 0").count() == 0


def test_another_version_is_laid_over_the_score_and_notes_have_a_surprise(page: Page) -> None:
    roll = PianoRoll(tune(bars=2))
    other = tune(bars=2)
    other.tracks[0].notes[0].pitch += 1
    roll.compare(other)
    show(page, roll, ROLL)
    assert marked(page, "different") == 2
    roll.compare(None)
    show(page, roll, ROLL)
    assert page.locator(CANVAS).get_attribute("data-different") == ""


def test_a_musician_rewrites_bars_in_jupyterlab_and_copies_the_line(
    open_notebook: OpenNotebook,
) -> None:
    notebook = open_notebook("notebooks/01_continue.ipynb")
    notebook.replace_in_cell("open-session", '"bach"', '"general", prompt_bars=4, autosave=False')
    notebook.run_cell("open-session")
    notebook.python_value("session.wait()")
    notebook.run_python("session.controls.num_candidates.value = 2")
    widget = notebook.output("open-session")
    widget.locator(CANVAS).first.focus()
    notebook.page.keyboard.press("Shift+ArrowRight")
    notebook.page.keyboard.press("Shift+ArrowRight")
    notebook.wait_for_python("session.roll.selected_bars == (1, 2)")
    widget.get_by_role("button", name="Select MELODY").first.click()
    notebook.wait_for_python("session.roll.selected_parts == [0]")
    widget.get_by_role("button", name="Vary").click()
    notebook.wait_for_python("len(session.candidates) == 2")
    assert notebook.python_value("[node.new_bars for node in session.candidates]") == [(1, 2)] * 2
    rolls = widget.locator("canvas[data-notes]")
    wait_until(lambda: rolls.count() == 3, CELL_SECONDS, "two candidates below the prompt")
    widget.get_by_text("The same in Python").click()
    code = widget.locator(".rwkv-code pre")
    assert code.inner_text().startswith("session.session.fill(bars=(1, 2), parts=[0], keep=Keep(")
    notebook.context.grant_permissions(["clipboard-read", "clipboard-write"])
    widget.get_by_role("button", name="Copy").click()
    widget.get_by_text("copied").wait_for()
    assert notebook.page.evaluate("navigator.clipboard.readText()") == code.inner_text()
    tree = widget.get_by_role("group", name="Versions")
    tree.get_by_role("button", name="Version 2").click()
    notebook.wait_for_python("session.current.id == 2")
    tree.get_by_role("button", name="Version 0: the prompt").click()
    notebook.wait_for_python("session.current.id == 0")
    assert tree.locator("[aria-current=true]").inner_text() == "0"
    rolls.nth(1).focus()
    notebook.page.keyboard.press("x")
    notebook.wait_for_python("session.rows.children[1].player.state == 'playing'")
    notebook.page.keyboard.press("x")
    notebook.run_python("session.rows.children[1].player.stop()")
    rolls.nth(2).hover()
    notebook.wait_for_python("session.roll.other == session.rows.children[1].roll.notes")
    wait_until(
        lambda: int(rolls.first.get_attribute("data-different") or 0) > 0,
        CELL_SECONDS,
        "differences on the roll of the current score",
    )
