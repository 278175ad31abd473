"""A style in the continuation widget: its slider, its effect, and what is written down of it."""

from pathlib import Path

import pytest
import torch
from rwkv_music_widgets import ContinuationSession

from rwkv_music.errors import InputError
from rwkv_music.model import Style, fingerprint, load_model, save_style
from tests.music import tune


def session(style: Style | Path | None) -> ContinuationSession:
    made = ContinuationSession("bach", tune(bars=2), prompt_bars=2, style=style)
    made.controls.bars.value = made.controls.num_candidates.value = 1
    made.controls.new_seed.value = False
    return made


def new_notes(session: ContinuationSession) -> list[tuple[int, int, int]]:
    (node,) = session.generate()
    assert node.new is not None
    return [(n.time, n.pitch, n.duration) for track in node.new.tracks for n in track.notes]


def test_the_slider_sets_how_much_of_a_style_is_heard(tmp_path: Path) -> None:
    model = load_model("bach")
    sizes = model.config
    generator = torch.Generator().manual_seed(0)
    shape = (sizes.num_layers, sizes.num_heads, 64, 64)
    style = Style(20 * torch.randn(shape, generator=generator), fingerprint(model))
    styled, plain = session(save_style(style, tmp_path / "odd.style")), session(None)
    bare = new_notes(plain)
    assert new_notes(styled) != bare
    assert styled.candidates[0].settings["style_strength"] == 1.0
    styled.controls.strength.value = 0.0
    assert new_notes(styled) == bare
    assert "style=style.scaled(0)" in styled.controls._code.code
    assert "style" not in plain.candidates[0].settings
    assert plain.controls.strength.layout.display == "none"


def test_a_style_that_is_not_there_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file .*nowhere\.style: check the path"):
        session(tmp_path / "nowhere.style").generate()
