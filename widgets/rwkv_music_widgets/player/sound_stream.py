"""Sends the sound of a score to the browser while it is rendered."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import symusic

from rwkv_music.playback import stream_sound
from rwkv_music_widgets.roll.piano_roll import PianoRoll


class SoundRequest(NamedTuple):
    """What is to be played, and how."""

    score: symusic.Score
    start_tick: int
    stop_tick: int | None
    soundfont: Path | None
    speed: float


class SoundStream:
    """Sends the sound of one request to a roll's views, in a thread that ends with the sound.

    Args:
        roll: Its views play the sound.
        number: Number of the stream, which `roll.playback` names.
        on_failure: Called in the thread with an exception that ends the stream.
    """

    def __init__(
        self, roll: PianoRoll, number: int, on_failure: Callable[[Exception], None]
    ) -> None:
        self._roll = roll
        self._number = number
        self._on_failure = on_failure
        self._is_stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, request: SoundRequest) -> None:
        """Render and send the sound in the background."""
        self._thread = threading.Thread(
            target=self._run, args=(request,), name="sound stream", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Send no more parts."""
        self._is_stopped.set()

    def wait(self, timeout_seconds: float = 60) -> None:
        """Wait until everything is sent."""
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def _run(self, request: SoundRequest) -> None:
        try:
            parts = stream_sound(
                request.score,
                soundfont=request.soundfont,
                start_tick=request.start_tick,
                stop_tick=request.stop_tick,
                speed=request.speed,
            )
            for part in parts:
                if self._is_stopped.is_set():
                    return
                self._send(np.ascontiguousarray(part, dtype="<i2").tobytes(), is_last=False)
            self._send(b"", is_last=True)
        except Exception as error:  # noqa: BLE001 - shown beside the player
            if not self._is_stopped.is_set():
                self._on_failure(error)

    def _send(self, sound: bytes, *, is_last: bool) -> None:
        message = {"type": "sound", "stream": self._number, "is_last": is_last}
        self._roll.send(message, [sound])
