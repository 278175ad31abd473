"""Parts of the piano roll: drums by name, mute, solo, hide; the overview and the note cursor."""

import numpy as np
import pytest
import symusic
from playwright.sync_api import Page
from rwkv_music_widgets import PianoRoll

from rwkv_music.errors import InputError
from tests.browser.bare_page import ROLL, show
from tests.music import BAR, tune

pytestmark = pytest.mark.browser

CANVAS = "canvas[role=img]"


def band() -> symusic.Score:
    """Two parts and a drum part with kick and hi-hat on every beat."""
    score = tune(bars=8)
    drums = symusic.Track("Kit", 0, is_drum=True)
    for beat in range(32):
        drums.notes.append(symusic.Note(beat * 96, 24, 42 if beat % 2 else 36, 100))
    score.tracks.append(drums)
    return score


@pytest.fixture
def roll(page: Page) -> PianoRoll:
    roll = PianoRoll(band())
    show(page, roll, ROLL)
    return roll


def changed(page: Page, trait: str) -> list[int]:
    """Return the parts in a trait after telling the views that it changed."""
    page.evaluate("(trait) => model.fire(`change:${trait}`)", trait)
    parts: list[int] = page.evaluate("(trait) => model.values[trait]", trait)
    return parts


def num_drawn(page: Page) -> int:
    page.evaluate(
        "() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))"
    )
    return int(page.locator(CANVAS).get_attribute("data-notes") or 0)


def test_drums_have_names_in_a_lane_below_the_pitches(page: Page, roll: PianoRoll) -> None:
    box = page.locator(CANVAS).bounding_box()
    assert box is not None
    y = box["y"] + box["height"] - 3  # the kick is the lowest row
    page.mouse.move(box["x"] + 48, y)
    assert page.locator("[role=status]").inner_text() == (
        "Kick (36), velocity 100, bar 1, beat 1, Kit"
    )


def test_parts_are_hidden_muted_and_heard_alone(page: Page, roll: PianoRoll) -> None:
    every_note = num_drawn(page)
    page.get_by_role("button", name="Hide Kit").click()
    assert changed(page, "hidden_parts") == [2]
    assert num_drawn(page) == every_note - 32
    page.get_by_role("button", name="Mute part 0").click()
    assert changed(page, "muted_parts") == [0]
    button = page.get_by_role("button", name="Mute part 0")
    assert button.get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="Hear part 1 alone").click()
    assert changed(page, "muted_parts") == [0, 2]
    roll.muted_parts = [0, 2]
    assert [track.name for track in roll.audible_score().tracks] == ["part 1"]
    roll.muted_parts = [0, 1, 2]
    with pytest.raises(InputError, match="all parts are muted: unmute one to hear it"):
        roll.audible_score()


def test_the_overview_shows_a_zoomed_view_and_moves_it(page: Page, roll: PianoRoll) -> None:
    overview = page.locator(".rwkv-roll-overview")
    assert not overview.is_visible()
    page.locator(CANVAS).focus()
    for _ in range(8):
        page.keyboard.press("+")
    overview.wait_for(state="visible")
    box = overview.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] - 2, box["y"] + 5)
    page.mouse.move(box["x"] + 60, box["y"] - 30)
    page.locator(CANVAS).focus()
    page.keyboard.press(",")  # the last note
    assert "bar 8" in page.locator("[role=status]").inner_text()
    page.keyboard.press("0")
    overview.wait_for(state="hidden")


def test_notes_are_reached_and_selected_with_keys(page: Page, roll: PianoRoll) -> None:
    page.locator(CANVAS).focus()
    page.keyboard.press(".")
    assert "bar 1, beat 1" in page.locator("[role=status]").inner_text()
    onsets = np.sort([note.time for track in roll.score.tracks for note in track.notes])
    for _ in range(8):
        page.keyboard.press(".")
    page.keyboard.press("[")
    assert page.evaluate("model.values.selection") == [int(onsets[8]), 8 * BAR]


def test_keys_that_sound_are_lit(page: Page, roll: PianoRoll) -> None:
    page.evaluate("() => { performance.now = () => 5000; }")  # the playhead stands still
    roll.show_playback("playing", from_tick=0, current_tick=10)
    page.evaluate(
        "(value) => { model.values.playback = value; model.fire('change:playback'); }",
        roll.playback,
    )
    lit = {int(key) for key in (page.locator(CANVAS).get_attribute("data-lit") or "").split()}
    notes = {track.notes[0].pitch for track in roll.score.tracks[:2]}
    assert lit == {*notes, -36}


def test_ten_thousand_notes_are_drawn_as_pixels_of_the_same_colours(page: Page) -> None:
    corner = """() => {
      const canvas = document.querySelector('canvas');
      const pen = canvas.getContext('2d');
      return [...pen.getImageData(canvas.width / 2, 60, 1, canvas.height - 70).data].join(",");
    }"""
    roll = PianoRoll(tune(bars=8))
    rows = np.zeros((3000, 3), dtype="<u4")
    rows[:, 0], rows[:, 1] = np.arange(3000), 60
    rows[:, 2] = 60 + (np.arange(3000) % 24) + (80 << 8)
    roll.notes = rows.tobytes()
    show(page, roll, ROLL)
    few = page.evaluate(corner)
    roll.notes = np.repeat(rows, 2, axis=0).tobytes()
    show(page, roll, ROLL)
    assert num_drawn(page) == 6000
    many = page.evaluate(corner)
    colors = [set(zip(*[iter(text.split(","))] * 4, strict=True)) for text in (few, many)]
    darkest = [min(actual, key=lambda rgba: sum(map(int, rgba[:3]))) for actual in colors]
    assert np.abs(np.subtract(*[np.array(color, dtype=int) for color in darkest])).max() <= 2
