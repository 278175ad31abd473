"""Sessions save themselves and are opened again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rwkv_music_widgets import ContinuationSession
from rwkv_music_widgets.session.autosave import autosave_folder, have_same_notes

from tests.music import tune


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Return a folder in which a session with two batches was saved."""
    monkeypatch.setenv("RWKV_MUSIC_SOUNDFONT", "nowhere.sf2")
    session = opened(tmp_path / "saved", tune(bars=4))
    session.controls.bars.value = session.controls.num_candidates.value = 1
    session.generate()
    session.generate()
    session.keep(0)
    session.close()
    return tmp_path / "saved"


def opened(folder: Path, prompt: object = None) -> ContinuationSession:
    session = ContinuationSession("bach", prompt, autosave=folder)
    session.wait()
    return session


def test_a_session_is_opened_as_it_was_left(folder: Path) -> None:
    session = opened(folder)
    assert session.session is not None
    assert len(session.session.nodes) == 3
    assert session.current.id == 2
    assert session.message == f"opened again: 2 candidates, saved in {folder}"
    session.undo()
    assert [node.id for node in session.candidates] == [2]
    assert session.controls.batch.options == (("batch 1 of 2", 0), ("batch 2 of 2", 1))
    session.close()


def test_the_cell_may_name_the_same_prompt_or_another(folder: Path) -> None:
    same = opened(folder, tune(bars=4))
    assert same.current.id == 2
    same.close()
    other = opened(folder, tune(bars=4, seed=5))
    assert other.current.id == 0
    assert have_same_notes(other.current.score, tune(bars=4, seed=5))
    other.undo()
    assert other.current.id == 2
    other.set_prompt(tune(bars=4, seed=5))
    other.controls.bars.value = other.controls.num_candidates.value = 1
    other.generate()
    other.close()
    assert sorted(path.name for path in folder.iterdir()) == ["1.rwkvmusic", "2.rwkvmusic"]
    again = opened(folder)
    assert have_same_notes(again.current.score, tune(bars=4, seed=5))
    again.close()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    session = opened(tmp_path / "file" / "folder", tune(bars=4))
    session.controls.bars.value = session.controls.num_candidates.value = 1
    assert len(session.generate()) == 1
    assert session.message.startswith("the session is not saved (")
    session.close()


def test_sessions_of_a_notebook_lie_beside_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/me/song.ipynb")
    assert autosave_folder("runs/my model") == tmp_path / "song-runs-my-model-sessions"
    monkeypatch.delenv("JPY_SESSION_NAME")
    assert autosave_folder("bach") is None
