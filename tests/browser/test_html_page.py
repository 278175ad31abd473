"""The exported page plays and shows its pieces without kernel, server or network."""

import base64
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page
from rwkv_music_widgets.export.html_page import PagePiece, save_page

from rwkv_music.playback.soundfont_worker import SAMPLE_RATE
from tests.playback.test_playback_sound import PITCHES, heard_pitches, scale

pytestmark = pytest.mark.browser

DECODED = """async () => {
  const [piece] = JSON.parse(document.getElementById("pieces").textContent);
  const bytes = Uint8Array.from(atob(piece.sound), (sign) => sign.charCodeAt(0));
  const context = new OfflineAudioContext(2, 44100, 44100);
  const sound = await context.decodeAudioData(bytes.buffer);
  const samples = sound.getChannelData(0).subarray(0, 3 * 44100);
  let text = "";
  for (const value of new Uint8Array(samples.slice().buffer)) text += String.fromCharCode(value);
  return btoa(text);
}"""
PLAYER = "[...rwkvMusicSound.players.values()][0]"


def test_a_page_on_the_disk_shows_and_plays_its_piece(page: Page, tmp_path: Path) -> None:
    piece = PagePiece(scale(PITCHES[:4]), "A </script><b>piece</b>", continuation_start=1920)
    path = save_page(tmp_path / "song.html", [piece], title="Songs & more")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    assert page.title() == "Songs & more"
    assert page.locator("h2").inner_text() == "A </script><b>piece</b>"
    canvas = page.locator("canvas[role=img]")
    assert canvas.get_attribute("data-notes") == "4"
    assert canvas.get_attribute("data-seam") == "1920"

    sound = 32_767 * np.frombuffer(base64.b64decode(page.evaluate(DECODED)), dtype="<f4")
    assert heard_pitches(sound, SAMPLE_RATE, 3) == PITCHES[:3]
    assert np.argmax(np.abs(sound) > 300) < 0.05 * SAMPLE_RATE

    page.get_by_role("button", name="New part").click()
    page.wait_for_function(f"{PLAYER}.startedAt !== null")
    # One beat before the continuation, at 120 quarter notes a minute.
    assert page.evaluate(f"{PLAYER}.position") == pytest.approx(1.5)
    page.get_by_role("button", name="Pause").click()
    assert page.evaluate(f"{PLAYER}.isPlaying") is False
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function(f"{PLAYER}.isPlaying")
    page.get_by_role("button", name="Stop").click()
    assert canvas.get_attribute("data-playing") == "false"
    assert [url for url in requests if not url.startswith(("file:", "blob:", "data:"))] == []
