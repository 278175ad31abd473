"""Renders MIDI with a SoundFont in a worker process: pygame plays into a pipe, not a sound device.

SDL's disk driver writes what would be heard to a file, as fast as it is read if that file is a
pipe. The synthesizer inside pygame is FluidSynth, which is missing on Windows.
"""

import io
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SAMPLE_RATE = 44_100
FRAME_BYTES = 4
"""Two channels of 16 bits."""

_STALE_BYTES = 128 << 10
"""More than the pipe and SDL's buffers hold."""
_READ_BYTES = 64 << 10
_LONGEST_SILENCE_SECONDS = 30
"""Silence at the beginning after which the music is taken to be silent throughout."""


class Beginning(NamedTuple):
    """Request for the beginning of a piece."""

    midi: bytes
    soundfont: str
    num_frames: int
    """Frames to return, beginning with the first note, which must be at tick 0."""


class Continuing(NamedTuple):
    """Request for what follows."""

    num_frames: int


class _Pipe:
    """The mixer of this process, and the pipe that it plays into."""

    def __init__(self) -> None:
        from rwkv_music.playback.sound_player import import_pygame

        with tempfile.TemporaryDirectory(prefix="rwkv-music-") as folder:
            path = Path(folder) / "sound"
            os.mkfifo(path)
            self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            os.environ["SDL_AUDIODRIVER"] = "disk"
            os.environ["SDL_DISKAUDIOFILE"] = str(path)
            os.environ["SDL_DISKAUDIODELAY"] = "0"
            mixer: Any = import_pygame().mixer
            mixer.init(SAMPLE_RATE, -16, 2, 1024, allowedchanges=0)
            os.set_blocking(self._file, True)
        self._music = mixer.music

    def begin(self, midi: bytes, soundfont: str) -> bytes:
        """Play a piece; return the bytes from the first sample that is not 0 on."""
        self._music.stop()
        stale = 0
        while stale < _STALE_BYTES:
            stale += len(self._read(_READ_BYTES))
        os.environ["SDL_SOUNDFONTS"] = soundfont
        self._music.load(io.BytesIO(midi), "mid")
        self._music.play()
        most = _LONGEST_SILENCE_SECONDS * SAMPLE_RATE * FRAME_BYTES
        silent, rest = 0, b""
        while silent < most:
            block = rest + self._read(_READ_BYTES)
            whole = len(block) // FRAME_BYTES * FRAME_BYTES
            block, rest = block[:whole], block[whole:]
            sounding = np.flatnonzero(np.frombuffer(block, dtype="<i2"))
            if len(sounding):
                return block[int(sounding[0]) // 2 * FRAME_BYTES :] + rest
            silent += whole
        return rest

    def read(self, num_bytes: int, so_far: bytes = b"") -> bytes:
        """Return exactly so many bytes, `so_far` first. What it exceeds is kept for the next."""
        parts = [so_far]
        missing = num_bytes - len(so_far)
        while missing > 0:
            parts.append(self._read(missing))
            missing -= len(parts[-1])
        return b"".join(parts)

    def _read(self, most: int) -> bytes:
        block = os.read(self._file, most)
        if not block:
            raise RuntimeError("the mixer has closed its end of the pipe")
        return block


class _State:
    """What the worker keeps between requests."""

    pipe: _Pipe | None = None
    surplus = b""


def answer(request: Beginning | Continuing) -> bytes:
    """Return the next frames of a piece as interleaved 16-bit samples, left first."""
    if _State.pipe is None:
        _State.pipe = _Pipe()
    if isinstance(request, Beginning):
        _State.surplus = _State.pipe.begin(request.midi, request.soundfont)
    num_bytes = request.num_frames * FRAME_BYTES
    sound = _State.pipe.read(num_bytes, _State.surplus)
    _State.surplus = sound[num_bytes:]
    return sound[:num_bytes]
