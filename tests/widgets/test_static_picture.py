"""Pictures that need no kernel: their notes, colours and texts."""

import re
from pathlib import Path
from typing import Any

import IPython.display
import pytest
import symusic
from rwkv_music_widgets import PianoRoll
from rwkv_music_widgets.roll.roll_colors import note_color
from rwkv_music_widgets.roll.roll_svg import roll_svg

from tests.music import BAR, tune


def test_a_picture_holds_every_note_and_the_start_of_the_continuation() -> None:
    score = tune(bars=4)
    svg = roll_svg(score, continuation_start=2 * BAR)
    colors = {note_color(part, 80) for part in range(2)}
    notes = [color for color in re.findall(r'fill="(#\w{6})"/>', svg) if color in colors]
    assert len(notes) == score.note_num()
    assert svg.count("stroke-dasharray") == 1
    assert "<title>Piano roll: 2 parts" in svg
    assert roll_svg(symusic.Score(480)).endswith("</svg>")


def test_names_in_a_picture_are_escaped() -> None:
    score = tune(bars=1)
    score.tracks[0].name = "<script>"
    assert "&lt;script&gt;" in roll_svg(score)
    assert "<script>" not in roll_svg(score)


def test_colours_are_those_of_the_widget_and_readable() -> None:
    # WCAG asks for a contrast of 3.
    assert len({note_color(part, 100) for part in range(12)}) == 12
    assert note_color(0, 90) == note_color(12, 90)
    for part in range(12):
        for velocity in (1, 127):
            color = note_color(part, velocity)
            rgb = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
            luminance = sum(
                weight * value**2.2
                for weight, value in zip((0.2126, 0.7152, 0.0722), rgb, strict=True)
            )
            assert 1.05 / (luminance + 0.05) > 3.1


def test_pictures_follow_the_score(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown: list[Any] = []

    class Handle:
        def update(self, content: Any, *, raw: bool) -> None:
            shown.append(content["text/html"])

    def display(content: Any, *, raw: bool, display_id: bool = False) -> Handle | None:
        shown.append(content.get("text/html"))
        return Handle() if display_id else None

    monkeypatch.setattr(IPython.display, "display", display)
    roll = PianoRoll(tune(bars=2))
    assert "rwkv-live" in roll._dom_classes
    roll._ipython_display_()
    roll.set_score(tune(bars=3, seed=1))
    live, first, second = shown
    assert live is None
    assert first.startswith('<div class="rwkv-static">')
    assert "2 bars" in first
    assert "3 bars" in second
    path = roll.save(tmp_path / "roll.svg")
    assert path.read_text(encoding="utf-8").startswith("<svg")
