"""Rendering with a SoundFont and with our synthesizer: notes, instruments, drums and times."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import symusic

from rwkv_music.errors import InputError, MissingExtraError
from rwkv_music.playback import (
    choose_soundfont,
    encode_sound,
    find_soundfont,
    render_sound,
    rendering,
    save_sound,
    stream_sound,
)  # fmt: skip
from rwkv_music.playback.soundfont_worker import SAMPLE_RATE
from tests.playback.test_playback_sound import PITCHES, heard_pitches, scale

CHOICES = [
    pytest.param(
        True,
        marks=pytest.mark.skipif(sys.platform == "win32", reason="Windows: no FluidSynth"),
    ),
    False,
]


def soundfont(is_wanted: bool) -> Path | None:
    actual = find_soundfont() if is_wanted else None
    assert actual is not None or not is_wanted
    return actual


def drum(key: int) -> symusic.Score:
    score = symusic.Score(480)
    track = symusic.Track("drums", 0, is_drum=True)
    track.notes.append(symusic.Note(0, 240, key, 110))
    score.tracks.append(track)
    return score


def spectral_centroid(sound: np.ndarray) -> float:
    """Mean frequency of the first 0.3 seconds, weighted by power."""
    power = np.abs(np.fft.rfft(sound[: int(0.3 * SAMPLE_RATE)])) ** 2
    frequencies = np.fft.rfftfreq(int(0.3 * SAMPLE_RATE), 1 / SAMPLE_RATE)
    return float((power * frequencies).sum() / power.sum())


def level(sound: np.ndarray, start: float, stop: float) -> float:
    """Root mean square between two times in seconds."""
    part = sound[int(start * SAMPLE_RATE) : int(stop * SAMPLE_RATE)].astype(float)
    return float(np.sqrt((part**2).mean()))


def mono(score: symusic.Score, is_soundfont: bool) -> np.ndarray:
    return render_sound(score, soundfont=soundfont(is_soundfont)).astype(float).mean(axis=1)


@pytest.mark.parametrize("is_soundfont", CHOICES)
def test_the_notes_of_the_score_sound(is_soundfont: bool) -> None:
    assert heard_pitches(mono(scale(PITCHES), is_soundfont), SAMPLE_RATE, len(PITCHES)) == PITCHES


@pytest.mark.parametrize("is_soundfont", CHOICES)
def test_kick_snare_hat_and_crash_differ(is_soundfont: bool) -> None:
    kick, snare, hat, crash = (mono(drum(key), is_soundfont) for key in (36, 38, 42, 49))
    assert 3 * spectral_centroid(kick) < spectral_centroid(snare)
    assert 1.5 * spectral_centroid(snare) < spectral_centroid(hat)
    # A crash rings on when a closed hi-hat is silent.
    assert level(crash, 0.5, 0.8) > 0.1 * level(crash, 0, 0.3)
    assert level(hat, 0.5, 0.8) < 0.02 * level(hat, 0, 0.3)


@pytest.mark.parametrize("is_soundfont", CHOICES)
def test_a_piano_decays_and_an_organ_does_not(is_soundfont: bool) -> None:
    ratios = []
    for program in (0, 19):
        score = scale([60], program=program)
        score.tracks[0].notes[0].duration = 480 * 2 * 3
        sound = mono(score, is_soundfont)
        ratios.append(level(sound, 2.2, 2.8) / level(sound, 0.2, 0.8))
    piano, organ = ratios
    assert piano < 0.5
    assert 0.7 < organ < 1.4


@pytest.mark.parametrize("is_soundfont", CHOICES)
@pytest.mark.parametrize("speed", [1.0, 2.0])
def test_notes_begin_when_they_should(is_soundfont: bool, speed: float) -> None:
    score = drum(42)
    score.tracks[0].notes[0].time = 1200  # 1.25 seconds at 120 quarter notes a minute
    score.tracks[0].notes.append(symusic.Note(1920, 240, 42, 110))
    sound = render_sound(score, soundfont=soundfont(is_soundfont), start_tick=240, speed=speed)
    loud = np.abs(sound.astype(float)).max(axis=1) > 300
    first = int(np.argmax(loud)) / SAMPLE_RATE
    second_from = int((1.7 / speed) * SAMPLE_RATE)
    second = (second_from + int(np.argmax(loud[second_from:]))) / SAMPLE_RATE
    assert first == pytest.approx(1.0 / speed, abs=0.01)
    assert second == pytest.approx(1.75 / speed, abs=0.02)


def test_a_new_stream_ends_the_one_before() -> None:
    first = stream_sound(scale(PITCHES), soundfont=soundfont(True))
    assert len(next(first)) == SAMPLE_RATE
    assert len(render_sound(scale(PITCHES[:2]), soundfont=soundfont(True))) > 2 * SAMPLE_RATE
    assert list(first) == []


def test_a_worker_that_died_is_replaced() -> None:
    render_sound(scale([60]), soundfont=soundfont(True))
    worker = rendering._RENDERER._worker
    assert worker is not None
    parts = stream_sound(scale(PITCHES), soundfont=soundfont(True))
    next(parts)
    worker.kill()
    with pytest.raises(InputError, match=r"cannot be rendered with the SoundFont \(ends its proc"):
        list(parts)
    assert heard_pitches(mono(scale([64]), True), SAMPLE_RATE, 1) == [64]


def test_what_cannot_be_rendered_is_refused() -> None:
    with pytest.raises(InputError, match=r"speed must be from 0\.25 to 4\.0, got 9"):
        render_sound(scale([60]), speed=9)
    with pytest.raises(InputError, match="there is no note from tick 5000 on: choose another"):
        render_sound(scale([60]), start_tick=5000)


def test_a_sentence_says_what_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RWKV_MUSIC_SOUNDFONT", "nowhere.sf2")
    chosen, sentence = choose_soundfont()
    assert chosen is None
    assert sentence.startswith("RWKV_MUSIC_SOUNDFONT names nowhere.sf2, which is not")
    assert sentence.endswith("until then the built-in synthesizer plays")
    monkeypatch.delenv("RWKV_MUSIC_SOUNDFONT")
    monkeypatch.setattr(rendering, "find_soundfont", lambda: None)
    assert choose_soundfont()[1].startswith("no SoundFont was found, so the built-in synthesizer")


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".ogg", ".flac"])
def test_a_sound_file_holds_the_notes(tmp_path: Path, suffix: str) -> None:
    soundfile = pytest.importorskip("soundfile", reason="missing: pip install soundfile")
    path = save_sound(scale(PITCHES[:3]), tmp_path / f"song{suffix}")
    sound, rate = soundfile.read(io.BytesIO(path.read_bytes()))
    assert rate == SAMPLE_RATE
    assert heard_pitches(32_767 * sound.mean(axis=1), rate, 3) == PITCHES[:3]


def test_formats_that_are_unknown_or_need_a_package_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"'\.aac' is not the suffix of a sound file: use one of"):
        save_sound(scale([60]), tmp_path / "song.aac")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingExtraError, match="saving MP3 files needs soundfile"):
        encode_sound(np.zeros((10, 2), dtype=np.int16), ".mp3")
