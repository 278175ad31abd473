"""The right notes sound: proved by spectrum, through pygame and through our own synthesizer."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import symusic

from rwkv_music.errors import InputError
from rwkv_music.playback import SoundPlayer, find_soundfont, score_to_pcm, score_to_wav, slice_ticks
from rwkv_music.score import load_score, save_score

PITCHES = np.random.default_rng(7).integers(60, 85, 8).tolist()
RATE = 44_100


def scale(pitches: list[int], *, program: int = 79) -> symusic.Score:
    """One note a second, on an ocarina unless told otherwise: it is nearly a sine."""
    score = symusic.Score(480)
    score.tempos.append(symusic.Tempo(0, qpm=120.0))
    track = symusic.Track("tune", program, False)
    for index, pitch in enumerate(pitches):
        track.notes.append(symusic.Note(index * 960, 800, pitch, 100))
    score.tracks.append(track)
    return score


def heard_pitches(sound: np.ndarray, rate: int, count: int) -> list[int]:
    """The strongest fundamental in the middle of each of `count` seconds, as a MIDI number."""
    heard = []
    for second in range(count):
        piece = sound[int((second + 0.15) * rate) : int((second + 0.7) * rate)].astype(float)
        spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 4 * len(piece)))
        frequencies = np.fft.rfftfreq(4 * len(piece), 1 / rate)
        # A fundamental has its octave and twelfth above it: the product finds the series' root.
        steps = np.arange(40, 96)
        scores = []
        for pitch in steps:
            fundamental = 440 * 2 ** ((pitch - 69) / 12)
            near = [
                spectrum[np.abs(frequencies - n * fundamental) < 0.02 * fundamental].max()
                for n in (1, 2)
            ]
            scores.append(near[0] + 0.3 * near[1])
        heard.append(int(steps[int(np.argmax(scores))]))
    return heard


PLAY = """
import sys, time
from rwkv_music.playback import SoundPlayer
player = SoundPlayer("pygame")
start = int(sys.argv[2])
player.play(sys.argv[1], start_tick=start)
while player.is_playing:
    time.sleep(0.01)
"""


def rendered_by_pygame(path: Path, raw: Path, *, start_tick: int = 0) -> np.ndarray:
    """What our player sends to SDL's disk driver, in a process of its own."""
    environment = {
        **os.environ,
        "SDL_AUDIODRIVER": "disk",
        "SDL_DISKAUDIOFILE": str(raw),
        "SDL_DISKAUDIODELAY": "1",
    }
    subprocess.run(
        [sys.executable, "-c", PLAY, str(path), str(start_tick)],
        env=environment, check=True, timeout=120,
    )  # fmt: skip
    sound = np.frombuffer(raw.read_bytes(), dtype="<i2").reshape(-1, 2).mean(axis=1)
    first = int(np.argmax(np.abs(sound) > 50))
    return sound[first:]


def test_pygame_sounds_the_notes_of_the_file_and_no_others(tmp_path: Path) -> None:
    path = save_score(scale(PITCHES), tmp_path / "scale.mid")
    sound = rendered_by_pygame(path, tmp_path / "sound.raw")
    assert heard_pitches(sound, RATE, len(PITCHES)) == PITCHES


def test_a_wrong_note_is_noticed(tmp_path: Path) -> None:
    wrong = [*PITCHES[:3], PITCHES[3] + 1, *PITCHES[4:]]
    sound = score_to_pcm(scale(wrong), RATE)
    assert heard_pitches(sound, RATE, len(PITCHES)) != PITCHES
    assert heard_pitches(sound, RATE, len(PITCHES)) == wrong


def test_playing_from_a_tick_begins_with_the_note_there(tmp_path: Path) -> None:
    path = save_score(scale(PITCHES), tmp_path / "scale.mid")
    sound = rendered_by_pygame(path, tmp_path / "sound.raw", start_tick=5 * 960)
    assert heard_pitches(sound, RATE, 3) == PITCHES[5:]


def test_the_synthesizer_sounds_the_notes_of_the_score() -> None:
    sound = score_to_pcm(scale(PITCHES), RATE)
    assert heard_pitches(sound, RATE, len(PITCHES)) == PITCHES
    assert np.abs(sound).max() < 32_767
    assert score_to_wav(scale(PITCHES))[:4] == b"RIFF"


def test_a_slice_holds_what_would_be_heard() -> None:
    score = scale([60, 62])
    score.tempos.append(symusic.Tempo(480, qpm=60.0))
    cut = slice_ticks(score, 600, 1200)
    notes = [(note.time, note.duration, note.pitch) for note in cut.tracks[0].notes]
    # The first note still sounds for 200 ticks, the second is struck at 960 and cut at 1200.
    assert notes == [(0, 200, 60), (360, 240, 62)]
    assert [(tempo.time, round(tempo.qpm)) for tempo in cut.tempos] == [(0, 60)]


def test_a_score_without_notes_is_refused() -> None:
    with pytest.raises(InputError, match="the score has no notes"):
        score_to_pcm(symusic.Score(480))


def test_an_hour_is_the_longest_sound() -> None:
    score = scale([60])
    score.tracks[0].notes[0].duration = 480 * 2 * 3700
    with pytest.raises(InputError, match="at most 3600 can be rendered"):
        score_to_pcm(score)


NO_DEVICE = """
from rwkv_music.playback import SoundPlayer
player = SoundPlayer()
print(player.available, "|", player.message)
"""


def test_without_a_sound_device_there_is_one_plain_sentence() -> None:
    environment = {**os.environ, "SDL_AUDIODRIVER": "no-such-driver"}
    done = subprocess.run(
        [sys.executable, "-c", NO_DEVICE], env=environment, check=True, timeout=60,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith("False | this computer has no sound device")
    assert done.stdout.count("\n") == 1
    assert "play in the browser" in done.stdout


def test_the_sound_library_writes_nothing_past_python() -> None:
    environment = {**os.environ, "SDL_AUDIODRIVER": "alsa", "ALSA_CONFIG_PATH": "nowhere.conf"}
    done = subprocess.run(
        [sys.executable, "-c", NO_DEVICE], env=environment, check=True, timeout=60,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == ""


def test_a_named_backend_raises_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RWKV_MUSIC_SOUNDFONT", "nowhere.sf2")
    with pytest.raises(InputError, match=r"RWKV_MUSIC_SOUNDFONT names nowhere\.sf2, which is no"):
        SoundPlayer("pygame")
    assert "nowhere.sf2" in SoundPlayer().message
    with pytest.raises(InputError, match="backend must be one of auto, pygame, got 'tape'"):
        SoundPlayer("tape")


def test_a_soundfont_is_known_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actual = find_soundfont()
    assert actual is not None
    fake = tmp_path / "fake.sf2"
    fake.write_bytes(b"not a soundfont at all")
    monkeypatch.setenv("RWKV_MUSIC_SOUNDFONT", str(fake))
    with pytest.raises(InputError, match="is not a SoundFont"):
        find_soundfont()


CONTROLS = """
import sys, time
from rwkv_music.playback import SoundPlayer
player = SoundPlayer("pygame")
assert player.position_seconds is None
player.play(sys.argv[1], start_tick=960)
while not player.is_playing:
    time.sleep(0.01)
assert player.position_seconds >= 1.0
player.pause()
held = player.position_seconds
assert player.is_paused and not player.is_playing
time.sleep(0.1)
assert player.position_seconds == held
player.resume()
while player.position_seconds == held:
    time.sleep(0.01)
player.stop()
assert not player.is_playing and player.position_seconds is None
print("went through")
"""


def test_pause_holds_the_position_and_stop_ends_it(tmp_path: Path) -> None:
    path = save_score(scale(PITCHES), tmp_path / "scale.mid")
    done = subprocess.run(
        [sys.executable, "-c", CONTROLS, str(path)],
        env={**os.environ, "SDL_AUDIODRIVER": "dummy"},
        check=True, timeout=60, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "went through\n"
    assert load_score(path).note_num() == len(PITCHES)
