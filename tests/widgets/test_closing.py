"""Widgets and threads end when they are no longer shown."""

import threading
from pathlib import Path

import pytest
from ipywidgets import Widget
from ipywidgets.widgets import widget as widget_module
from rwkv_music_widgets import ContinuationSession, DataDoctor, Player, TrainingPanel
from rwkv_music_widgets.training.run_watcher import WATCHER, RunWatcher

from rwkv_music.data import examine_folder
from rwkv_music.score import save_score
from tests.music import tune


def open_widgets() -> set[str]:
    return set(widget_module._instances)


@pytest.fixture(autouse=True)
def no_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RWKV_MUSIC_SOUNDFONT", "nowhere.sf2")


def test_candidates_are_replaced_in_the_same_widgets() -> None:
    before = open_widgets()
    session = ContinuationSession("bach", tune(bars=4))
    session.controls.bars.value = 1
    counts = []
    for _ in range(3):
        session.generate()
        counts.append(len(open_widgets() - before))
        session.keep(0)
        counts.append(len(open_widgets() - before))
        assert session.rows.children == ()
    assert len(set(counts)) == 1
    session.controls.num_candidates.value = 1
    session.generate()
    assert len(session.rows.children) == 1
    assert len(open_widgets() - before) == counts[0]
    session.close()
    assert open_widgets() == before


def test_closing_a_panel_or_a_doctor_leaves_no_widget(tmp_path: Path) -> None:
    save_score(tune(bars=4), tmp_path / "tune.mid")
    report = examine_folder(tmp_path)
    before = open_widgets()
    panel, doctor = TrainingPanel(tmp_path / "run"), DataDoctor(report)
    assert len(open_widgets() - before) > 20
    panel.close()
    doctor.close()
    assert open_widgets() == before
    panel.close()  # closing twice does nothing


def test_closing_a_player_leaves_its_roll_open() -> None:
    session = ContinuationSession("bach", tune(bars=4))
    extra = Player(session.roll)
    extra.close()
    assert session.roll.comm is not None
    session.close()


def test_many_panels_share_one_thread(tmp_path: Path) -> None:
    threads = threading.active_count()
    panels = [TrainingPanel(tmp_path / "run") for _ in range(5)]
    assert threading.active_count() - threads <= 1
    assert all(panel in WATCHER for panel in panels)
    for panel in panels:
        panel.close()
    assert not any(panel in WATCHER for panel in panels)


class CountingPanel:
    """A panel that counts its refreshes and is final after `final_after` of them."""

    refresh_seconds = 0.0

    def __init__(self, *, final_after: int = 10**6, fails: bool = False) -> None:
        self.num_refreshes = 0
        self.is_hidden = False
        self.failure: BaseException | None = None
        self._final_after = final_after
        self._fails = fails

    @property
    def is_final(self) -> bool:
        return self.num_refreshes >= self._final_after

    def refresh(self) -> None:
        self.num_refreshes += 1
        if self._fails:
            raise OSError("the directory vanished")

    def show_failure(self, error: BaseException) -> None:
        self.failure = error


def ended(watcher: RunWatcher) -> bool:
    """Wait until the watcher's thread has ended."""
    thread = watcher._thread
    if thread is not None:
        thread.join(30)
    return watcher._thread is None


def test_the_watcher_ends_with_its_last_panel() -> None:
    watcher, panel = RunWatcher(), CountingPanel(final_after=2)
    watcher.add(panel)
    assert ended(watcher)
    assert panel.num_refreshes == 2


def test_a_panel_that_nobody_sees_is_not_refreshed() -> None:
    watcher, hidden, seen = RunWatcher(), CountingPanel(), CountingPanel(final_after=2)
    hidden.is_hidden = True
    watcher.add(hidden)
    watcher.add(seen)
    while seen in watcher:
        pass
    watcher.remove(hidden)
    assert ended(watcher)
    assert (hidden.num_refreshes, seen.num_refreshes) == (0, 2)


def test_a_panel_that_fails_says_so_and_the_others_continue() -> None:
    watcher, broken, fine = RunWatcher(), CountingPanel(fails=True), CountingPanel(final_after=2)
    watcher.add(broken)
    watcher.add(fine)
    assert ended(watcher)
    assert str(broken.failure) == "the directory vanished"
    assert (broken.num_refreshes, fine.num_refreshes) == (1, 2)


def test_a_panel_whose_cell_was_run_again_is_hidden(tmp_path: Path) -> None:
    panel = TrainingPanel(tmp_path / "run")
    assert not panel.is_hidden  # not displayed yet: somebody may read it from Python
    panel._view_count = 1
    assert not panel.is_hidden
    panel._view_count = 0
    assert panel.is_hidden
    panel.close()
    assert isinstance(panel, Widget)
