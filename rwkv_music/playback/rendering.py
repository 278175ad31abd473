"""Sound of a score as samples: with the instruments of a SoundFont, or with our own synthesizer.

The sound is the same on a desktop and in a browser, and no sound device is needed. FluidSynth runs
in a worker process that is kept for the next piece.
"""

import atexit
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int16

from rwkv_music.errors import InputError
from rwkv_music.playback.slicing import scale_tempo, slice_ticks
from rwkv_music.playback.soundfont import find_soundfont
from rwkv_music.playback.soundfont_worker import SAMPLE_RATE, Beginning, Continuing, answer
from rwkv_music.playback.synth import score_to_pcm
from rwkv_music.worker_process import Failure, WorkerEndedError, WorkerProcess

if TYPE_CHECKING:
    import symusic

LONGEST_SECONDS = 3600
_TAIL_SECONDS = 1.5
"""Time in which the last notes fade."""
_FIRST_SECONDS = 1.0
_CHUNK_SECONDS = 8.0
_PROCESSOR_SECONDS = 60.0
"""Time limit of a request; large SoundFonts take seconds to load."""
_SPEEDS = (0.25, 4.0)


def stream_sound(
    score: "symusic.Score",
    *,
    soundfont: Path | None = None,
    start_tick: int = 0,
    stop_tick: int | None = None,
    speed: float = 1.0,
) -> Iterator[Int16[np.ndarray, "frames 2"]]:
    """Yield the sound of a score in parts: the first second early, then longer ones.

    Args:
        score: A score in ticks with at least one note in the range.
        soundfont: SoundFont to use; the built-in synthesizer when None.
        start_tick: First tick to render; the first frame sounds at this tick.
        stop_tick: Tick to stop at; the end of the piece when None.
        speed: Factor of the tempo, 0.25 to 4; pitches stay the same.

    Yields:
        Stereo samples at 44,100 Hz. The stream ends early if another one is started.

    Raises:
        InputError: If no note is in the range, it is longer than an hour, or `speed` is out of
            range.

    Example:
        for part in stream_sound(score, soundfont=find_soundfont()):
            ...
    """
    excerpt = _excerpt(score, start_tick, stop_tick, speed)
    onset, end = _first_and_last_ticks(excerpt)
    # The renderer begins with the first note, the time before it is silent.
    silent_seconds = _seconds(excerpt, onset)
    excerpt = slice_ticks(excerpt, onset)
    seconds = _seconds(excerpt, end - onset)
    if silent_seconds + seconds > LONGEST_SECONDS:
        raise InputError(
            f"the music is {silent_seconds + seconds:.0f} seconds long, at most {LONGEST_SECONDS}"
            " can be rendered: take fewer bars"
        )
    if onset:
        yield np.zeros((int(silent_seconds * SAMPLE_RATE), 2), dtype=np.int16)
    num_frames = int((seconds + _TAIL_SECONDS) * SAMPLE_RATE)
    if soundfont is None:
        sound = score_to_pcm(excerpt, SAMPLE_RATE)[:num_frames]
        yield np.repeat(sound[:, None], 2, axis=1)
    else:
        _prolong(excerpt, seconds + _TAIL_SECONDS)
        yield from _RENDERER.stream(excerpt, soundfont, num_frames)


def render_sound(
    score: "symusic.Score",
    *,
    soundfont: Path | None = None,
    start_tick: int = 0,
    stop_tick: int | None = None,
    speed: float = 1.0,
) -> Int16[np.ndarray, "frames 2"]:
    """Return the sound of a score as stereo samples at 44,100 Hz; see `stream_sound`."""
    parts = stream_sound(
        score, soundfont=soundfont, start_tick=start_tick, stop_tick=stop_tick, speed=speed
    )
    return np.concatenate(list(parts))


def choose_soundfont() -> tuple[Path | None, str]:
    """Return the SoundFont to render with, and a sentence that says what plays.

    Returns:
        None if there is no SoundFont or this system cannot use one; the built-in synthesizer plays.
    """
    synthesizer = "the built-in synthesizer plays"
    if not can_use_soundfonts():
        return None, f"this system cannot render with a SoundFont, so {synthesizer}"
    try:
        soundfont_path = find_soundfont()
    except InputError as error:
        return None, f"{error}; until then {synthesizer}"
    if soundfont_path is None:
        return None, (
            f"no SoundFont was found, so {synthesizer}: set RWKV_MUSIC_SOUNDFONT to a .sf2 file"
            " for real instruments"
        )
    return soundfont_path, f"the instruments of {soundfont_path.stem} play"


def can_use_soundfonts() -> bool:
    """Return whether SoundFonts can be rendered here: with pygame, and not on Windows."""
    import importlib.util

    return sys.platform != "win32" and importlib.util.find_spec("pygame") is not None


def warm_up() -> None:
    """Start the worker process in the background, so that the first sound is quick."""
    if can_use_soundfonts():
        _RENDERER.warm_up()


class _Renderer:
    """The worker process of this process. A new stream ends the one before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: WorkerProcess | None = None
        self._stream = 0

    def warm_up(self) -> None:
        threading.Thread(target=self._start, name="sound", daemon=True).start()

    def _start(self) -> None:
        with self._lock:
            self._running_worker().start()

    def stream(
        self, excerpt: "symusic.Score", soundfont: Path, num_frames: int
    ) -> Iterator[Int16[np.ndarray, "frames 2"]]:
        from rwkv_music.score.midi.midi_writer import to_midi

        with self._lock:
            self._stream += 1
            stream = self._stream
        size = min(num_frames, int(_FIRST_SECONDS * SAMPLE_RATE))
        request: Beginning | Continuing = Beginning(to_midi(excerpt), str(soundfont), size)
        while size > 0:
            with self._lock:
                if stream != self._stream:
                    return
                sound = self._ask(request)
            num_frames -= size
            if num_frames == 0:
                sound = _faded(sound)
            yield sound
            size = min(num_frames, int(_CHUNK_SECONDS * SAMPLE_RATE))
            request = Continuing(size)

    def _ask(self, request: Beginning | Continuing) -> Int16[np.ndarray, "frames 2"]:
        try:
            sound = self._running_worker().ask(request, _PROCESSOR_SECONDS)
        except WorkerEndedError as error:
            self._worker = None
            raise InputError(_unusable(error.failure)) from error
        if isinstance(sound, Failure):
            raise InputError(_unusable(sound))
        return np.frombuffer(sound, dtype="<i2").reshape(-1, 2)

    def _running_worker(self) -> WorkerProcess:
        worker = self._worker
        if worker is None or worker.owner != os.getpid() or not worker.is_running:
            worker = self._worker = WorkerProcess(answer)
        return worker

    def close(self) -> None:
        if self._worker is not None and self._worker.owner == os.getpid():
            self._worker.close()


_RENDERER = _Renderer()
atexit.register(_RENDERER.close)


def _unusable(failure: Failure) -> str:
    return (
        f"the sound cannot be rendered with the SoundFont ({failure.reason}): choose another one,"
        " or the built-in synthesizer"
    )


def _excerpt(score: "symusic.Score", start: int, stop: int | None, speed: float) -> "symusic.Score":
    lowest, highest = _SPEEDS
    if not lowest <= speed <= highest:
        raise InputError(f"speed must be from {lowest} to {highest}, got {speed}")
    excerpt = slice_ticks(score, start, stop)
    if not excerpt.note_num():
        until = "" if stop is None else f" to {stop}"
        raise InputError(f"there is no note from tick {start} on{until}: choose another excerpt")
    scale_tempo(excerpt, speed)
    return excerpt


def _first_and_last_ticks(excerpt: "symusic.Score") -> tuple[int, int]:
    notes = [note for track in excerpt.tracks for note in track.notes]
    return min(note.time for note in notes), max(note.time + note.duration for note in notes)


def _seconds(excerpt: "symusic.Score", tick: int) -> float:
    from rwkv_music.score import TempoMap

    return float(TempoMap(excerpt).ticks_to_seconds(tick)[0])


def _prolong(excerpt: "symusic.Score", seconds: float) -> None:
    """Let a score end later: pygame cuts the sound off at the last event."""
    import symusic

    from rwkv_music.score import TempoMap

    tick = int(TempoMap(excerpt).seconds_to_ticks(seconds)[0])
    unused_controller = 3
    excerpt.tracks[0].controls.append(symusic.ControlChange(tick, unused_controller, 0))


def _faded(sound: Int16[np.ndarray, "frames 2"]) -> Int16[np.ndarray, "frames 2"]:
    """Return the last part of a sound, ending in silence."""
    length = min(len(sound), int(0.3 * SAMPLE_RATE))
    faded = sound.astype(np.float32)
    faded[len(sound) - length :] *= np.linspace(1, 0, length, dtype=np.float32)[:, None]
    return faded.astype(np.int16)
