"""A small additive synthesizer, with equal results on every machine.

Each note is a few partials that decay (piano, guitar) or last (organ, strings, winds); drums are
falling tones and bursts of noise. It needs no SoundFont and no sound device.
"""

import io
import wave
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int16

from rwkv_music.errors import InputError
from rwkv_music.score import TempoMap

if TYPE_CHECKING:
    import symusic

_RELEASE_SECONDS = 0.12
_ATTACK_SECONDS = 0.006
_LONGEST_DRUM_SECONDS = 1.6
_MAX_SECONDS = 3600
_PEAK = 0.89


class _Timbre(NamedTuple):
    """Strengths of the partials, and the time in which a note decays; 0 if it lasts."""

    partials: tuple[float, ...]
    decay_seconds: float


_PIANO = _Timbre((1.0, 0.35, 0.18, 0.08), 1.6)
_PLUCKED = _Timbre((1.0, 0.5, 0.3, 0.2, 0.1), 0.9)
_MALLET = _Timbre((1.0, 0.1, 0.0, 0.25), 0.5)
_ORGAN = _Timbre((1.0, 0.7, 0.4, 0.5, 0.1, 0.2), 0.0)
_BOWED = _Timbre((1.0, 0.5, 0.35, 0.25, 0.18, 0.1), 0.0)
_BLOWN = _Timbre((1.0, 0.2, 0.1), 0.0)
_TIMBRES = (
    (range(8, 16), _MALLET),
    (range(16, 24), _ORGAN),
    (range(24, 40), _PLUCKED),
    (range(45, 48), _PLUCKED),
    (range(40, 56), _BOWED),
    (range(56, 72), _BOWED),
    (range(72, 104), _BLOWN),
    (range(104, 109), _PLUCKED),
    (range(109, 112), _BOWED),
    (range(112, 120), _MALLET),
)


class _Drum(NamedTuple):
    """A drum: a tone that falls to its pitch, noise above a frequency, and their decay."""

    hertz: float
    tone: float
    noise: float
    noise_from_hertz: float
    decay_seconds: float


_KICK = _Drum(50, 1.0, 0.05, 20, 0.12)
_SNARE = _Drum(190, 0.4, 0.7, 800, 0.09)
_CLOSED_HAT = _Drum(0, 0.0, 0.45, 7000, 0.03)
_OPEN_HAT = _Drum(0, 0.0, 0.45, 7000, 0.2)
_CYMBAL = _Drum(0, 0.0, 0.6, 3500, 0.5)
_OTHER_DRUM = _Drum(0, 0.0, 0.5, 1500, 0.05)
_DRUMS = {
    **dict.fromkeys((35, 36), _KICK),
    **dict.fromkeys((37, 38, 39, 40), _SNARE),
    **dict.fromkeys((42, 44), _CLOSED_HAT),
    **dict.fromkeys((46,), _OPEN_HAT),
    **dict.fromkeys((49, 51, 52, 53, 55, 57, 59), _CYMBAL),
    **{key: _Drum(70 + 12 * (key - 41), 0.8, 0.1, 200, 0.15) for key in (41, 43, 45, 47, 48, 50)},
}


def score_to_pcm(
    score: "symusic.Score", sample_rate: int = 22_050
) -> Int16[np.ndarray, " samples"]:
    """Render a score as mono 16-bit samples.

    Args:
        score: A score in ticks with at least one note.
        sample_rate: Samples per second.

    Raises:
        InputError: If there is no note, or the music is longer than an hour.
    """
    timing = TempoMap(score)
    notes = [(track, note) for track in score.tracks for note in track.notes]
    if not notes:
        raise InputError("the score has no notes: at least 1 is needed to render sound")
    last = max(note.time + note.duration for _, note in notes)
    seconds = float(timing.ticks_to_seconds(last)[0]) + _LONGEST_DRUM_SECONDS
    if seconds > _MAX_SECONDS:
        raise InputError(
            f"the music is {seconds:.0f} seconds long, at most {_MAX_SECONDS} can be rendered: "
            "take fewer bars"
        )
    sound = np.zeros(int(np.ceil(seconds * sample_rate)) + 1, dtype=np.float32)
    for track, note in notes:
        start, end = timing.ticks_to_seconds(np.array([note.time, note.time + note.duration]))
        tone = (
            _drum(note.pitch, sample_rate)
            if track.is_drum
            else _tone(note.pitch, float(end - start), sample_rate, _timbre(track.program))
        )
        first = int(start * sample_rate)
        target = sound[first : first + len(tone)]
        target += tone[: len(target)] * (note.velocity / 127)
    peak = float(np.abs(sound).max())
    return (sound * (_PEAK / max(peak, 1.0)) * 32767).astype(np.int16)


def score_to_wav(score: "symusic.Score", sample_rate: int = 22_050) -> bytes:
    """Render a score as the bytes of a WAV file, e.g. for a browser."""
    samples = score_to_pcm(score, sample_rate)
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.tobytes())
    return content.getvalue()


def _timbre(program: int) -> _Timbre:
    """Return the timbre of a General MIDI program, 0 to 127."""
    return next((timbre for programs, timbre in _TIMBRES if program in programs), _PIANO)


def _tone(
    pitch: int, seconds: float, sample_rate: int, timbre: _Timbre
) -> Float[np.ndarray, " samples"]:
    time = np.arange(int((seconds + _RELEASE_SECONDS) * sample_rate)) / sample_rate
    frequency = 440.0 * 2 ** ((pitch - 69) / 12)
    tone = np.zeros_like(time)
    for harmonic, strength in enumerate(timbre.partials, start=1):
        if strength and harmonic * frequency < sample_rate / 2:
            partial = strength * np.sin(2 * np.pi * harmonic * frequency * time)
            if timbre.decay_seconds:
                partial *= np.exp(-time * harmonic / timbre.decay_seconds)
            tone += partial
    attack = np.minimum(time / _ATTACK_SECONDS, 1)
    release = np.clip(1 - (time - seconds) / _RELEASE_SECONDS, 0, 1)
    loudness = 0.25 if timbre.decay_seconds else 0.14
    return (loudness * tone * attack * release).astype(np.float32)


@cache
def _drum(pitch: int, sample_rate: int) -> Float[np.ndarray, " samples"]:
    """Return the sound of a drum, by its General MIDI number."""
    drum = _DRUMS.get(pitch, _OTHER_DRUM)
    seconds = min(8 * drum.decay_seconds, _LONGEST_DRUM_SECONDS)
    time = np.arange(int(seconds * sample_rate)) / sample_rate
    # The tone falls from three times its frequency within 50 ms.
    turns = drum.hertz * (time + 2 * 0.02 * (1 - np.exp(-time / 0.02)))
    spectrum = np.fft.rfft(np.random.default_rng(pitch).standard_normal(len(time)))
    frequencies = np.fft.rfftfreq(len(time), 1 / sample_rate)
    spectrum[frequencies < min(drum.noise_from_hertz, 0.4 * sample_rate)] = 0
    noise = np.fft.irfft(spectrum, len(time))
    sound = drum.tone * np.sin(2 * np.pi * turns) + 0.4 * drum.noise * noise
    return (0.6 * sound * np.exp(-time / drum.decay_seconds)).astype(np.float32)
