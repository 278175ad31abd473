"""Scores are exported in every format, and the browser is offered the file."""

from pathlib import Path

import pytest
from rwkv_music_widgets import ContinuationSession
from rwkv_music_widgets.export.html_page import save_page
from rwkv_music_widgets.export.score_files import SUFFIXES, save_as

from rwkv_music.errors import InputError
from rwkv_music.score import load_score
from tests.music import BAR, tune

STARTS = {
    ".mid": b"MThd", ".musicxml": b"<?xml", ".mp3": b"ID3", ".ogg": b"OggS", ".wav": b"RIFF",
    ".html": b"<!DOCTYPE html>", ".svg": b"<svg", ".png": b"\x89PNG",
}  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_score_is_saved_in_the_format_of_its_suffix(suffix: str, tmp_path: Path) -> None:
    if suffix in (".mp3", ".ogg"):
        pytest.importorskip("soundfile")
    path = save_as(tune(bars=2), tmp_path / f"song{suffix}", continuation_start=BAR)
    content = path.read_bytes()
    assert content.startswith(STARTS[suffix]) or (suffix == ".mp3" and content[:1] == b"\xff")


def test_other_formats_and_empty_pages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'\.doc' is not a known format: use one of \.mid, "):
        save_as(tune(bars=1), tmp_path / "song.doc")
    with pytest.raises(InputError, match="a page needs at least 1 piece, got 0"):
        save_page(tmp_path / "page.html", [])


def test_a_row_exports_where_its_button_is_and_offers_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RWKV_MUSIC_SOUNDFONT", "nowhere.sf2")
    monkeypatch.chdir(tmp_path)
    session = ContinuationSession("bach", tune(bars=2))
    session.controls.bars.value = session.controls.num_candidates.value = 1
    (candidate,) = session.generate()
    (row,) = session.rows.children
    row.export_button.click()
    row.export_button.click()
    assert row.message_box.text == f"saved as {tmp_path / 'continuation-1-2.mid'}"
    assert '<a download="continuation-1-2.mid" ' in row.message_box.value
    saved = load_score(tmp_path / "continuation-1.mid")
    assert saved.note_num() == candidate.score.note_num()
    session.controls.format.value = ".svg"
    session.controls.export.click()
    assert (tmp_path / "continuation.svg").exists()
    with pytest.raises(InputError, match="there are no new bars to export"):
        session.export("new.mid", part="new")
    session.close()
