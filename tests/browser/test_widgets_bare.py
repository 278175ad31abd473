"""The canvases in a bare browser page, with a model made by the test: pointer, keys, theme."""

import base64
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page
from rwkv_music_widgets import LossChart, PianoRoll
from rwkv_music_widgets.doctor.file_table import FileTable

from rwkv_music.data.doctor.file_report import FileReport
from rwkv_music.data.doctor.folder_report import FolderReport
from tests.browser.bare_page import ROLL, show
from tests.music import BAR, tune

pytestmark = pytest.mark.browser


def roll_on(page: Page, **settings: Any) -> PianoRoll:
    roll = PianoRoll(tune(bars=8), **settings)
    show(page, roll, ROLL)
    return roll


def data(page: Page, name: str) -> str:
    return page.locator("canvas[role=img]").get_attribute(f"data-{name}") or ""


def tick_x(page: Page, tick: int) -> float:
    """Where a tick is on the page; the keyboard takes 46 pixels, the right margin 6."""
    box = page.locator("canvas[role=img]").bounding_box()
    assert box is not None
    return box["x"] + 46 + (box["width"] - 52) * tick / (8 * BAR)


def test_every_note_is_drawn_and_the_picture_has_a_description(page: Page) -> None:
    roll = roll_on(page, continuation_start=4 * BAR)
    assert int(data(page, "notes")) == roll.score.note_num()
    assert data(page, "seam") == str(4 * BAR)
    label = page.locator("canvas[role=img]").get_attribute("aria-label")
    assert label == roll.summary
    assert page.locator(".rwkv-roll-legend span").count() == 2


def test_a_drag_selects_whole_beats_and_a_click_clears(page: Page) -> None:
    roll_on(page)
    y = 150
    page.mouse.move(tick_x(page, 100), y)
    page.mouse.down()
    page.mouse.move(tick_x(page, 300), y, steps=4)
    page.mouse.move(tick_x(page, 500), y, steps=4)
    page.mouse.up()
    assert page.evaluate("model.values.selection") == [96, 480]
    assert (
        "selected from bar 1, beat 2 to bar 2, beat 2" in page.locator("[role=status]").inner_text()
    )
    page.mouse.click(tick_x(page, 700), y)
    assert page.evaluate("model.values.selection") == []
    assert page.evaluate("saves") == 2


@pytest.mark.parametrize(("continuation_start", "below"), [(-1, 0), (4 * BAR, 16)])
def test_hovering_names_the_note_and_the_labels_at_the_seam_are_below_all_notes(
    page: Page, continuation_start: int, below: int
) -> None:
    roll = roll_on(page, continuation_start=continuation_start)
    note = roll.score.tracks[0].notes[0]
    box = page.locator("canvas[role=img]").bounding_box()
    assert box is not None
    pitches = [note.pitch for track in roll.score.tracks for note in track.notes]
    rows = max(pitches) + 2 - (min(pitches) - 2) + 1
    row_height = (box["height"] - 36 - below) / rows
    y = box["y"] + 36 + (max(pitches) + 2 - note.pitch + 0.5) * row_height
    page.mouse.move(tick_x(page, note.time + note.duration // 2), y)
    said = page.locator("[role=status]").inner_text()
    assert f"({note.pitch}), velocity 80, bar 1, beat 1, part 0" in said


def test_ctrl_and_wheel_zoom_and_the_wheel_alone_scrolls_the_notebook(page: Page) -> None:
    roll = roll_on(page)
    page.mouse.move(tick_x(page, BAR), 150)
    page.mouse.wheel(0, -300)
    assert int(data(page, "notes")) == roll.score.note_num()
    page.keyboard.down("Control")
    for _ in range(6):
        page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    page.wait_for_function(
        "(all) => Number(document.querySelector('canvas').dataset.notes) < all",
        arg=roll.score.note_num(),
    )
    page.mouse.dblclick(tick_x(page, BAR), 150)
    assert int(data(page, "notes")) == roll.score.note_num()


def test_keys_zoom_scroll_and_fit(page: Page) -> None:
    roll = roll_on(page)
    page.locator("canvas[role=img]").focus()
    for _ in range(8):
        page.keyboard.press("+")
    zoomed = int(data(page, "notes"))
    assert zoomed < roll.score.note_num()
    page.keyboard.press("End")
    page.keyboard.press("0")
    assert int(data(page, "notes")) == roll.score.note_num()


def test_the_theme_is_followed(page: Page) -> None:
    roll_on(page)
    corner = """() => {
      const pen = document.querySelector('canvas').getContext('2d');
      return [...pen.getImageData(200, 4, 1, 1).data];
    }"""
    light = page.evaluate(corner)
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    page.wait_for_selector("canvas[data-theme=dark]")
    dark = page.evaluate(corner)
    assert sum(light[:3]) > 600
    assert sum(dark[:3]) < 200


def test_the_playhead_moves_and_hides_at_the_end(page: Page) -> None:
    roll = roll_on(page)
    roll.show_playback("playing", current_tick=8 * BAR - 40)
    page.evaluate(
        "(value) => { model.values.playback = value; model.fire('change:playback'); }",
        roll.playback,
    )
    page.wait_for_selector("canvas[data-playing=true]")
    assert page.locator(".rwkv-roll-playhead").is_visible()
    page.wait_for_selector("canvas[data-playing=false]")
    assert not page.locator(".rwkv-roll-playhead").is_visible()


def test_cleaning_up_leaves_no_listener(page: Page) -> None:
    roll_on(page)
    assert page.evaluate("model.listeners()") == 13
    page.evaluate("cleanup()")
    assert page.evaluate("model.listeners()") == 0


def test_two_hundred_thousand_notes_are_drawn(page: Page) -> None:
    roll = PianoRoll(tune(bars=8))
    rows = np.zeros((200_000, 3), dtype="<u4")
    rows[:, 0] = np.arange(200_000) * 8 * BAR // 200_000
    rows[:, 1] = 10
    rows[:, 2] = 60 + (np.arange(200_000) % 24) + (80 << 8)
    roll.notes = rows.tobytes()
    show(page, roll, ROLL)
    assert int(data(page, "notes")) == 200_000


def test_the_chart_draws_its_points_and_grows(page: Page) -> None:
    chart = LossChart()
    chart.show(
        [(float(step), 5 / step) for step in range(1, 40)],
        [(20.0, 0.8)],
        {"uniform": 7.6, "5-gram": 0.9},
    )
    show(page, chart, ("train", "valid", "baselines", "height", "summary", "version"))
    assert (data(page, "points"), data(page, "valid")) == ("39", "1")
    assert data(page, "baselines") == "2"
    more = base64.b64encode(np.ones(200, dtype="<f4").tobytes()).decode()
    page.evaluate(
        """(text) => {
          const raw = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
          model.values.train = new DataView(raw.buffer);
          model.fire("change:version");
        }""",
        more,
    )
    assert data(page, "points") == "100"
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    page.wait_for_selector("canvas[data-theme=dark]")
    page.evaluate("cleanup()")
    assert page.evaluate("model.listeners()") == 0


def files_on(page: Page) -> FileTable:
    """A table of three files and many short ones."""
    files = [
        FileReport("a <b>.mid", "fine", bars=9, notes=70, parts=1, slowest_qpm=90, fastest_qpm=120),
        FileReport("b.mid", "repaired", repairs=("tempo of 0 left out",), bars=100, notes=5),
        FileReport("c.mid", "skipped", reason="is empty (0 bytes): copy it again"),
        *(FileReport(f"z {index:03}.mid", "fine", bars=index) for index in range(10, 310)),
    ]
    table = FileTable()
    table.show(FolderReport("music", tuple(files), {}))
    show(page, table, ("rows", "columns", "verdicts", "selected"))
    return table


def names_shown(page: Page, most: int = 3) -> list[str]:
    lines = page.locator("tbody tr")
    return [str(lines.nth(index).get_attribute("data-name")) for index in range(most)]


def test_files_are_sorted_by_a_click_on_a_column(page: Page) -> None:
    files_on(page)
    assert names_shown(page) == ["a <b>.mid", "b.mid", "c.mid"]
    page.get_by_role("button", name="Bars").click()
    assert names_shown(page, 2) == ["a <b>.mid", "z 010.mid"]
    page.get_by_role("button", name="Bars").click()
    assert names_shown(page, 2) == ["z 309.mid", "z 308.mid"]
    assert page.locator("th").nth(2).get_attribute("aria-sort") == "descending"


def test_files_are_filtered_by_verdict_and_by_text(page: Page) -> None:
    files_on(page)
    page.get_by_role("button", name="skipped 1").click()
    assert page.locator("tbody tr").count() == 1
    assert "why: is empty (0 bytes): copy it again" in page.locator("tbody tr").inner_text()
    page.get_by_role("button", name="all 303").click()
    page.get_by_role("searchbox").fill("TEMPO OF")
    assert names_shown(page, 1) == ["b.mid"]
    assert page.locator("tbody tr").count() == 1


def test_long_tables_grow_on_request(page: Page) -> None:
    files_on(page)
    assert page.locator("tbody tr").count() == 200
    page.get_by_role("button", name="show more of the 303 files").click()
    assert page.locator("tbody tr").count() == 303


def test_a_row_is_chosen_by_click_or_key(page: Page) -> None:
    files_on(page)
    page.locator("tbody tr").nth(1).click()
    assert page.evaluate("model.values.selected") == "b.mid"
    assert page.locator("tr[aria-selected=true]").count() == 1
    page.locator("tbody tr").nth(0).focus()
    page.keyboard.press("Enter")
    assert page.evaluate("model.values.selected") == "a <b>.mid"
    assert page.evaluate("saves") == 2


def test_the_table_follows_the_theme_and_cleans_up(page: Page) -> None:
    files_on(page)
    ink = "getComputedStyle(document.querySelector('.rwkv-files-fine')).color"
    light = page.evaluate(ink)
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    page.wait_for_selector(".rwkv-files[data-theme=dark]")
    assert page.evaluate(ink) != light
    page.evaluate("cleanup()")
    assert page.evaluate("model.listeners()") == 0
