"""The player: play, pause, resume, stop, and the playback position.

pygame cannot seek in MIDI files, so excerpts are cut from the score first. It plays broken files
silently without an error, so everything is parsed before.
"""

import io
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.errors import InputError, MissingExtraError
from rwkv_music.playback.slicing import scale_tempo, slice_ticks
from rwkv_music.playback.soundfont import find_soundfont, needs_soundfont

if TYPE_CHECKING:
    import symusic

_BACKENDS = ("auto", "pygame")
_POLL_SECONDS = 0.05


class SoundPlayer:
    """Plays scores on this computer's sound device.

    Args:
        backend: With "auto", `available` is False if playback is impossible and `message` says why.
            "pygame" raises instead.

    Raises:
        InputError: With "pygame", if there is no sound device or no SoundFont.

    Example:
        player = SoundPlayer()
        if player.available:
            player.play(load_score("prompt.mid"))
        else:
            print(player.message)
    """

    def __init__(self, backend: str = "auto") -> None:
        if backend not in _BACKENDS:
            raise InputError(f"backend must be one of {', '.join(_BACKENDS)}, got '{backend}'")
        self._lock = threading.RLock()
        self._music: Any = None
        self._is_paused = False
        self._offset_seconds = 0.0
        self.message = ""
        """Why playback is impossible; empty if it is possible."""
        try:
            self._music = _open_mixer()
        except InputError as error:
            if backend == "pygame":
                raise
            self.message = str(error)

    @property
    def available(self) -> bool:
        """Whether playback is possible."""
        return self._music is not None

    def play(
        self,
        music: "symusic.Score | str | Path",
        *,
        start_tick: int = 0,
        stop_tick: int | None = None,
        speed: float = 1.0,
        loop: bool = False,
    ) -> None:
        """Start playback and return immediately; stops what was playing before.

        Args:
            music: A score, or the path of a MIDI file.
            start_tick: First tick to play.
            stop_tick: Tick to stop at; the end of the piece when None.
            speed: Factor of the tempo.
            loop: Whether to begin again at the end.

        Raises:
            InputError: If playback is impossible, or the excerpt has no note.
        """
        from rwkv_music.score import TempoMap, to_score
        from rwkv_music.score.midi.midi_writer import to_midi

        if self._music is None:
            raise InputError(self.message)
        score = to_score(music)
        excerpt = slice_ticks(score, start_tick, stop_tick)
        if not excerpt.note_num():
            raise InputError(
                f"there is no note from tick {start_tick} on"
                + (f" to {stop_tick}" if stop_tick is not None else "")
                + ": choose another excerpt"
            )
        if speed != 1.0:
            scale_tempo(excerpt, speed)
        with self._lock:
            self._music.stop()
            self._music.load(io.BytesIO(to_midi(excerpt)), "mid")
            self._music.play(-1 if loop else 0)
            self._is_paused = False
            self._offset_seconds = float(TempoMap(score).ticks_to_seconds(start_tick)[0])

    def set_volume(self, volume: float) -> None:
        """Set the volume, from 0 to 1."""
        with self._lock:
            if self._music is not None:
                self._music.set_volume(volume)

    def pause(self) -> None:
        """Pause playback; `resume` continues it."""
        with self._lock:
            if self.is_playing:
                self._music.pause()
                self._is_paused = True

    def resume(self) -> None:
        """Continue after a pause."""
        with self._lock:
            if self._is_paused:
                self._music.unpause()
                self._is_paused = False

    def stop(self) -> None:
        """Stop playback."""
        with self._lock:
            self._is_paused = False
            if self._music is not None:
                self._music.stop()

    @property
    def is_playing(self) -> bool:
        """Whether something is playing; False while paused."""
        return self._music is not None and not self._is_paused and bool(self._music.get_busy())

    @property
    def is_paused(self) -> bool:
        """Whether playback is paused."""
        return self._is_paused

    @property
    def position_seconds(self) -> float | None:
        """Seconds from the beginning of the piece; None if nothing is playing or paused."""
        with self._lock:
            # After the end pygame's clock is negative.
            if not (self.is_playing or self._is_paused):
                return None
            return self._offset_seconds + max(0, int(self._music.get_pos())) / 1000


def play_file(path: str | Path, *, unfold_repeats: bool = False) -> None:
    """Play a music file to its end; Ctrl-C stops it.

    Args:
        path: The file.
        unfold_repeats: As for `load_score`.

    Raises:
        InputError: If the file cannot be read, or playback is impossible.
    """
    from rwkv_music.score import load_score

    score = load_score(path, unfold_repeats=unfold_repeats)
    player = SoundPlayer("pygame")
    player.play(score)
    try:
        while player.is_playing:
            time.sleep(_POLL_SECONDS)
    finally:
        player.stop()


def _open_mixer() -> Any:  # noqa: ANN401 - pygame.mixer.music is a module
    """Return pygame's music player on an open sound device with a SoundFont."""
    pygame = import_pygame()
    soundfont = find_soundfont()
    if soundfont is not None:
        os.environ["SDL_SOUNDFONTS"] = str(soundfont)
    elif needs_soundfont():
        raise InputError(
            "no SoundFont was found, so MIDI cannot be played: install pretty_midi, which has one,"
            " or set RWKV_MUSIC_SOUNDFONT to a .sf2 file"
        )
    if not pygame.mixer.get_init():
        try:
            with _quiet_alsa():
                pygame.mixer.init()
        except pygame.error as error:
            raise InputError(
                "this computer has no sound device: play in the browser, or export the MIDI file"
            ) from error
    return pygame.mixer.music


@contextmanager
def _quiet_alsa() -> Iterator[None]:
    """Suppress ALSA's messages, which the exception also contains.

    ALSA writes to the file descriptor directly, not through Python.
    """
    if sys.platform != "linux":
        yield
        return
    stderr = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as null_device:
            os.dup2(null_device.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def import_pygame() -> Any:  # noqa: ANN401 - a module
    """Return pygame with its mixer, without its greeting.

    Raises:
        MissingExtraError: If it is not installed.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        with warnings.catch_warnings():
            # pygame 2.6 uses a deprecated part of setuptools.
            warnings.simplefilter("ignore")
            import pygame.mixer
    except ImportError as error:
        raise MissingExtraError("playback", "pygame", "playback") from error
    return pygame
