"""The sound that the kernel sends is what the page plays, and the playhead follows it."""

import base64
from typing import Any

import numpy as np
import pytest
import symusic
from playwright.sync_api import Page
from rwkv_music_widgets import PianoRoll, Player

from rwkv_music.playback.soundfont_worker import SAMPLE_RATE
from tests.browser.bare_page import ROLL, show
from tests.playback.test_playback_sound import PITCHES, heard_pitches, scale
from tests.playback.test_rendering import level, spectral_centroid

pytestmark = pytest.mark.browser

OFFLINE = """(seconds) => {
  const context = new OfflineAudioContext(2, 44100 * seconds, 44100);
  globalThis.rwkvMusicSound = { players: new Map(), context, audible: null };
}"""

RECORD = """async () => {
  const sound = await rwkvMusicSound.context.startRendering();
  const samples = sound.getChannelData(0);
  const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) {
    text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  }
  return btoa(text);
}"""

# A context whose time the test sets, and which notes what is to sound when.
CLOCK = """() => {
  window.starts = [];
  const node = () => ({ connect() {}, disconnect() {}, gain: { value: 1 } });
  const context = {
    currentTime: 10, outputLatency: 0.02, state: "running", destination: null,
    createGain: node,
    createBuffer: (channels, length) => ({ duration: length / 44100, copyToChannel() {} }),
    createBufferSource: () => ({
      ...node(), start: (at, offset) => window.starts.push([at, offset]),
    }),
  };
  globalThis.rwkvMusicSound = { players: new Map(), context, audible: null };
}"""

PLAYBACK = "(value) => { model.values.playback = value; model.fire('change:playback'); }"
MESSAGE = """([message, text]) => model.fire("msg:custom", message, [bytes(text)])"""


def sent_by(roll: PianoRoll, monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """Collect the messages of a roll, in the form of `MESSAGE`."""
    messages: list[list[Any]] = []

    def send(content: dict[str, Any], buffers: list[bytes]) -> None:
        messages.append([content, base64.b64encode(buffers[0]).decode()])

    monkeypatch.setattr(roll, "send", send)
    return messages


def open_with_sound(page: Page, roll: PianoRoll, prepare: str, *arguments: Any) -> None:
    """Show a roll in a page whose audio context is replaced."""
    show(page, PianoRoll(), ROLL)  # navigates
    page.evaluate("cleanup()")
    page.evaluate(prepare, *arguments)
    show(page, roll, ROLL, navigate=False)


def recorded(
    page: Page, score: symusic.Score, monkeypatch: pytest.MonkeyPatch, *, seconds: int
) -> np.ndarray:
    """Play a score in the page, and return what Chromium sends to the loudspeaker."""
    roll = PianoRoll(score)
    messages = sent_by(roll, monkeypatch)
    player = Player(roll)
    assert player.settings.soundfont is not None
    player.settings.volume.value = 1.0
    open_with_sound(page, roll, OFFLINE, seconds)
    player.play_button.click()
    player.wait_for_sound()
    page.evaluate(PLAYBACK, roll.playback)
    for message in messages:
        page.evaluate(MESSAGE, message)
    text = page.evaluate(RECORD)
    player.close()
    return 32_767 * np.frombuffer(base64.b64decode(text), dtype="<f4")


def test_the_page_plays_the_notes_of_the_score(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = recorded(page, scale(PITCHES[:6]), monkeypatch, seconds=6)
    assert heard_pitches(sound, SAMPLE_RATE, 6) == PITCHES[:6]


def test_drums_differ_in_the_page(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    score = symusic.Score(480)
    track = symusic.Track("drums", 0, is_drum=True)
    for second, key in enumerate((36, 38, 42, 49)):
        track.notes.append(symusic.Note(960 * second, 240, key, 110))
    score.tracks.append(track)
    sound = recorded(page, score, monkeypatch, seconds=5)
    kick, snare, hat, crash = np.split(sound[: 4 * SAMPLE_RATE], 4)
    assert 3 * spectral_centroid(kick) < spectral_centroid(snare)
    assert 1.5 * spectral_centroid(snare) < spectral_centroid(hat)
    assert level(crash, 0.5, 0.8) / level(crash, 0, 0.3) > 5 * (
        level(hat, 0.5, 0.8) / level(hat, 0, 0.3)
    )


def test_a_piano_decays_in_the_page_and_an_organ_does_not(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = scale([60], program=0)
    organ = scale([60], program=19)
    score.tracks[0].notes[0].duration = organ.tracks[0].notes[0].duration = 480 * 2 * 3
    organ.tracks[0].notes[0].time = 480 * 2 * 4
    score.tracks.append(organ.tracks[0])
    sound = recorded(page, score, monkeypatch, seconds=7)
    assert level(sound, 2.2, 2.8) < 0.5 * level(sound, 0.2, 0.8)
    assert level(sound, 6.2, 6.8) == pytest.approx(level(sound, 4.2, 4.8), rel=0.4)


def playhead_tick(page: Page, roll: PianoRoll) -> float:
    """The tick at the playhead; the keyboard takes 46 pixels, the right margin 6."""
    text = page.locator(".rwkv-roll-playhead").evaluate(
        """async (line) => {
          await new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)));
          return line.style.transform;
        }"""
    )
    box = page.locator("canvas[role=img]").bounding_box()
    assert box is not None
    x = float(text.removeprefix("translateX(").removesuffix("px)"))
    end = int(np.frombuffer(roll.bars, dtype="<i4")[-1])
    return (x - 46) * end / (box["width"] - 52)


@pytest.fixture
def playing(page: Page, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A roll whose first 16 seconds play on a clock that the test sets."""
    monkeypatch.setenv("RWKV_MUSIC_SOUNDFONT", "nowhere.sf2")
    roll = PianoRoll(scale([60] * 8))
    messages = sent_by(roll, monkeypatch)
    player = Player(roll)
    open_with_sound(page, roll, CLOCK)
    yield roll, player, messages
    player.close()


def set_clock(page: Page, seconds: float) -> None:
    page.evaluate("(seconds) => { rwkvMusicSound.context.currentTime = seconds; }", seconds)


def deliver(page: Page, roll: PianoRoll, player: Player, messages: list[list[Any]]) -> None:
    player.wait_for_sound()
    page.evaluate(PLAYBACK, roll.playback)
    for message in messages:
        page.evaluate(MESSAGE, message)
    messages.clear()


def test_the_playhead_is_where_the_sound_is(page: Page, playing: Any) -> None:
    roll, player, messages = playing
    player.settings.tempo.value = 150
    player.play_ticks(960, None)
    player.wait_for_sound()
    page.evaluate(PLAYBACK, roll.playback)
    set_clock(page, 12)
    assert playhead_tick(page, roll) == pytest.approx(960, abs=8)  # no sound has come yet
    for message in messages:
        page.evaluate(MESSAGE, message)
    started = page.evaluate("starts[0][0]")
    assert started == pytest.approx(12, abs=0.05)
    set_clock(page, started + 2.02)  # 2 seconds are heard, of 1.5 times the tempo
    tick = playhead_tick(page, roll)
    assert tick == pytest.approx(960 + 2 * 960 * 1.5, abs=0.05 * 960 * 1.5)

    player.pause_button.click()
    page.evaluate(PLAYBACK, roll.playback)
    set_clock(page, 30)
    assert playhead_tick(page, roll) == pytest.approx(tick, abs=8)
    player.pause_button.click()
    page.evaluate("starts.length = 0")
    page.evaluate(PLAYBACK, roll.playback)
    at, offset = page.evaluate("starts[0]")
    assert (at, offset) == (pytest.approx(30, abs=0.05), pytest.approx(2, abs=0.1))
    set_clock(page, 60)
    page.wait_for_function("model.values.ended_playback === model.values.playback.count")
    page.wait_for_selector("canvas[data-playing=false]")


def test_a_loop_begins_again_without_a_gap(page: Page, playing: Any) -> None:
    roll, player, messages = playing
    player.settings.loop.value = True
    roll.selection = [960, 2880]
    player.play_button.click()
    deliver(page, roll, player, messages)
    starts = page.evaluate("starts.map(([at]) => at)")
    assert np.diff(starts) == pytest.approx([2.0] * (len(starts) - 1))
    set_clock(page, starts[0] + 3.02)
    assert playhead_tick(page, roll) == pytest.approx(960 + 960, abs=48)
    player.stop_button.click()
    page.evaluate(PLAYBACK, roll.playback)
    assert page.evaluate("rwkvMusicSound.players.get(model.get('sound_id')).sources.length") == 0


def test_a_click_on_the_ruler_plays_from_there(page: Page, playing: Any) -> None:
    roll, player, _messages = playing
    box = page.locator("canvas[role=img]").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 46 + (box["width"] - 52) / 2 + 4, box["y"] + 6)
    (message,) = [sent for sent in page.evaluate("sent") if sent["type"] != "hover"]
    assert message == {"type": "play from", "tick": 4 * 960}
    roll._handle_custom_msg(message, [])
    assert player.state == "playing"
    assert roll.playback["from_tick"] == 4 * 960
