"""A small additive synthesizer, with equal results on every machine.

Each note is a few partials with a decaying envelope; drums are short bursts of noise. It needs no
SoundFont and no sound device.
"""

import io
import wave
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int16

from rwkv_music.errors import InputError
from rwkv_music.score import TempoMap

if TYPE_CHECKING:
    import symusic

_PARTIALS = ((1, 1.0), (2, 0.35), (3, 0.18), (4, 0.08))
_RELEASE_SECONDS = 0.12
_ATTACK_SECONDS = 0.006
_DECAY_SECONDS = 1.6
_DRUM_SECONDS = 0.12
_MAX_SECONDS = 3600
_PEAK = 0.89


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
    seconds = float(timing.ticks_to_seconds(last)[0]) + _RELEASE_SECONDS + _DRUM_SECONDS
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
            else _tone(note.pitch, float(end - start), sample_rate)
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


def _tone(pitch: int, seconds: float, sample_rate: int) -> Float[np.ndarray, " samples"]:
    time = np.arange(int((seconds + _RELEASE_SECONDS) * sample_rate)) / sample_rate
    frequency = 440.0 * 2 ** ((pitch - 69) / 12)
    tone = np.zeros_like(time)
    for harmonic, strength in _PARTIALS:
        if harmonic * frequency < sample_rate / 2:
            decay = np.exp(-time * harmonic / _DECAY_SECONDS)
            tone += strength * decay * np.sin(2 * np.pi * harmonic * frequency * time)
    attack = np.minimum(time / _ATTACK_SECONDS, 1)
    release = np.clip(1 - (time - seconds) / _RELEASE_SECONDS, 0, 1)
    return (0.25 * tone * attack * release).astype(np.float32)


@cache
def _drum(pitch: int, sample_rate: int) -> Float[np.ndarray, " samples"]:
    """Return a burst of noise, deeper for low drum numbers."""
    time = np.arange(int(_DRUM_SECONDS * sample_rate)) / sample_rate
    noise = np.random.default_rng(pitch).standard_normal(len(time))
    width = max(1, (60 - min(pitch, 59)) // 4)
    smooth = np.convolve(noise, np.ones(width) / width, mode="same")
    return (0.3 * smooth * np.exp(-time * 40)).astype(np.float32)
