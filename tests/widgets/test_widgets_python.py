"""The Python side of the widgets: what they send, follow and refuse."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import symusic
from rwkv_music_widgets import PianoRoll, Player
from rwkv_music_widgets.bundle import bundled
from rwkv_music_widgets.roll.packed_score import packed_notes, tempo_rows

from rwkv_music.errors import InputError
from rwkv_music.playback import SoundPlayer
from tests.music import BAR, tune

HERE = Path(__file__).parent


@pytest.mark.parametrize(("name", "tests"), [("geometry", 17), ("file_table", 4), ("theme", 4)])
def test_the_javascript_passes_its_own_tests_in_node(name: str, tests: int) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed; the browser tests still draw with this code")
    done = subprocess.run(
        [node, "--test", str(HERE / f"{name}.test.mjs")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert f"# pass {tests}" in done.stdout


@pytest.mark.parametrize("name", ["piano_roll.mjs", "chart.mjs", "file_table.mjs"])
def test_a_bundle_is_one_module_without_imports_and_with_one_export(name: str) -> None:
    text = bundled(name)
    assert "\nimport " not in text
    assert text.count("\nexport ") == 1
    assert text.count("export function themeColors") == 0
    assert text.count("function themeColors") == 1


def test_notes_are_packed_in_twelve_bytes_sorted_by_onset() -> None:
    score = tune(bars=2, parts=2)
    table = np.frombuffer(packed_notes(score), dtype="<u4").reshape(-1, 3)
    assert len(table) == score.note_num()
    assert (np.diff(table[:, 0].astype(np.int64)) >= 0).all()
    first = table[0, 2].item().to_bytes(4, "little")
    assert first[0] in {note.pitch for track in score.tracks for note in track.notes}
    assert first[1] == 80


def test_tempos_are_told_in_seconds() -> None:
    score = tune(bars=2, qpm=60.0)
    score.tempos.append(symusic.Tempo(96, qpm=120.0))
    rows = tempo_rows(score)
    np.testing.assert_allclose(rows, [[0, 0, 1 / 96], [96, 1, 0.5 / 96]])


def test_a_roll_tells_its_score_in_a_sentence_and_saves_a_picture(tmp_path: Path) -> None:
    roll = PianoRoll(tune(bars=4), continuation_start=2 * BAR)
    assert roll.summary.endswith("4 bars; the continuation starts at bar 3")
    assert roll.parts == ["part 0", "part 1"]
    assert roll.signatures == [[0, "4/4"]]
    assert roll.save(tmp_path / "roll.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(InputError, match="height must be at least 80 pixels, got 10"):
        PianoRoll(tune(bars=1), height=10)
    with pytest.raises(TypeError, match="unexpected keyword argument 'hieght'"):
        PianoRoll(tune(bars=1), hieght=100)


def test_without_a_sound_device_the_browser_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RWKV_MUSIC_SOUNDFONT", "nowhere.sf2")
    silent = SoundPlayer()
    roll = PianoRoll(tune(bars=4), continuation_start=2 * BAR)
    player = Player(roll, sound=silent)
    assert player.settings.where.options == ("This browser",)
    assert "nowhere.sf2" in player.message
    player.play_new_button.click()
    assert roll.playback["state"] == "playing"
    # From one beat before the continuation.
    assert (roll.playback["from_tick"], roll.playback["sound"]) == (2 * BAR - 96, True)
    player.pause_button.click()
    assert player.state == roll.playback["state"] == "paused"
    assert roll.playback["current_tick"] >= 2 * BAR - 96
    player.pause_button.click()
    assert player.state == "playing"
    player.stop_button.click()
    assert roll.playback["state"] == "stopped"


def test_a_selection_is_what_play_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RWKV_MUSIC_SOUNDFONT", "nowhere.sf2")
    roll = PianoRoll(tune(bars=4))
    player = Player(roll)
    assert player.play_new_button.disabled
    roll.selection = [96, 480]
    player.play_button.click()
    assert (roll.playback["from_tick"], roll.playback["stop_tick"]) == (96, 480)


def test_a_mistake_becomes_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RWKV_MUSIC_SOUNDFONT", "nowhere.sf2")
    player = Player(PianoRoll())
    player.play_button.click()
    assert "there is no music to play" in player.message
