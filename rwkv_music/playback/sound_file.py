"""Sound files: WAV, and MP3, OGG or FLAC with the optional package soundfile."""

import io
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int16

from rwkv_music.atomic import write_atomic
from rwkv_music.errors import InputError, MissingExtraError, write_errors
from rwkv_music.playback.rendering import choose_soundfont, render_sound
from rwkv_music.playback.soundfont_worker import SAMPLE_RATE

if TYPE_CHECKING:
    import symusic

_ENCODINGS = {
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".ogg": ("OGG", "VORBIS"),
    ".flac": ("FLAC", "PCM_16"),
}


def save_sound(
    score: "symusic.Score", path: str | Path, *, soundfont: Path | None = None, speed: float = 1.0
) -> Path:
    """Render a score and save the sound; the suffix of the path chooses the format.

    Args:
        score: A score in ticks with at least one note.
        path: A file name that ends in .wav, .mp3, .ogg or .flac.
        soundfont: SoundFont to use; the one that `find_soundfont` finds when None, or the built-in
            synthesizer if there is none.
        speed: Factor of the tempo.

    Returns:
        The path.

    Raises:
        InputError: If the suffix is another one, the score has no note, or the file cannot be
            written.
        MissingExtraError: If soundfile is needed and not installed.

    Example:
        save_sound(score, "song.mp3")
    """
    path = Path(path)
    suffix = _checked_suffix(path.suffix)
    chosen = soundfont if soundfont is not None else choose_soundfont()[0]
    sound = render_sound(score, soundfont=chosen, speed=speed)
    content = encode_sound(sound, suffix)
    with write_errors(path):
        write_atomic(path, content)
    return path


def encode_sound(sound: Int16[np.ndarray, "frames 2"], suffix: str) -> bytes:
    """Return the bytes of a sound file.

    Args:
        sound: Stereo samples at 44,100 Hz.
        suffix: ".wav", ".mp3", ".ogg" or ".flac".

    Raises:
        InputError: If the suffix is another one.
        MissingExtraError: If soundfile is needed and not installed.
    """
    suffix = _checked_suffix(suffix)
    content = io.BytesIO()
    if suffix == ".wav":
        with wave.open(content, "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(np.ascontiguousarray(sound, dtype="<i2").tobytes())
        return content.getvalue()
    container, encoding = _ENCODINGS[suffix]
    _soundfile(suffix).write(content, sound, SAMPLE_RATE, format=container, subtype=encoding)
    return content.getvalue()


def _checked_suffix(suffix: str) -> str:
    lowered = suffix.lower()
    if lowered != ".wav" and lowered not in _ENCODINGS:
        known = ", ".join((".wav", *_ENCODINGS))
        raise InputError(f"'{suffix}' is not the suffix of a sound file: use one of {known}")
    return lowered


def _soundfile(suffix: str) -> Any:  # noqa: ANN401 - a module
    try:
        import soundfile
    except ImportError as error:
        feature = f"saving {suffix.removeprefix('.').upper()} files"
        raise MissingExtraError(feature, "soundfile", "playback") from error
    return soundfile
