"""The player: play, pause, resume, stop, and where it is.

pygame plays MIDI files whole and cannot seek in them, so that a stretch is cut out of the score
first. It also "plays" a broken file without a word: whatever is played here was parsed before.
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
from rwkv_music.playback.slicing import slice_ticks
from rwkv_music.playback.soundfont import find_soundfont, needs_soundfont

if TYPE_CHECKING:
    import symusic

_BACKENDS = ("auto", "pygame")
_POLL_SECONDS = 0.05


class Player:
    """Plays scores on this computer's sound device.

    Args:
        backend: "auto" does not raise where nothing can sound: `available` is then False and
            `message` says why in one sentence. "pygame" raises instead.

    Raises:
        InputError: With "pygame" by name, if there is no sound device or no SoundFont.

    Example:
        player = Player()
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
        """Why nothing can sound here; empty if it can."""
        try:
            self._music = _open_mixer()
        except InputError as error:
            if backend == "pygame":
                raise
            self.message = str(error)

    @property
    def available(self) -> bool:
        """Whether this computer can sound."""
        return self._music is not None

    def play(
        self,
        music: "symusic.Score | str | Path",
        *,
        start_tick: int = 0,
        stop_tick: int | None = None,
    ) -> None:
        """Begin to play and return at once; whatever was playing stops.

        Args:
            music: A score, or the path of a MIDI file.
            start_tick: Where to begin.
            stop_tick: Where to end; the end of the piece when None.

        Raises:
            InputError: If nothing can sound here, or there is no note in that stretch.
        """
        from rwkv_music.score import TempoMap, to_score

        if self._music is None:
            raise InputError(self.message)
        score = to_score(music)
        stretch = slice_ticks(score, start_tick, stop_tick)
        if not stretch.note_num():
            raise InputError(
                f"there is no note from tick {start_tick} on"
                + (f" to {stop_tick}" if stop_tick is not None else "")
                + ": choose another stretch"
            )
        with self._lock:
            self._music.stop()
            self._music.load(io.BytesIO(stretch.dumps_midi()), "mid")
            self._music.play()
            self._is_paused = False
            self._offset_seconds = float(TempoMap(score).ticks_to_seconds(start_tick)[0])

    def pause(self) -> None:
        """Hold; `resume` goes on from there."""
        with self._lock:
            if self.is_playing:
                self._music.pause()
                self._is_paused = True

    def resume(self) -> None:
        """Go on after a pause."""
        with self._lock:
            if self._is_paused:
                self._music.unpause()
                self._is_paused = False

    def stop(self) -> None:
        """End playback."""
        with self._lock:
            self._is_paused = False
            if self._music is not None:
                self._music.stop()

    @property
    def is_playing(self) -> bool:
        """Whether something sounds now; False in a pause."""
        return self._music is not None and not self._is_paused and bool(self._music.get_busy())

    @property
    def is_paused(self) -> bool:
        """Whether playback is held."""
        return self._is_paused

    @property
    def position_seconds(self) -> float | None:
        """Seconds from the beginning of the piece; None when nothing plays or is held."""
        with self._lock:
            # After the end pygame's clock says -1 or worse, so it is asked only while it counts.
            if not (self.is_playing or self._is_paused):
                return None
            return self._offset_seconds + max(0, int(self._music.get_pos())) / 1000


def play_file(path: str | Path) -> None:
    """Play a MIDI file to its end; Ctrl-C stops it.

    Raises:
        InputError: If the file cannot be read, or nothing can sound here.
    """
    from rwkv_music.score import load_score

    score = load_score(path)
    player = Player("pygame")
    player.play(score)
    try:
        while player.is_playing:
            time.sleep(_POLL_SECONDS)
    finally:
        player.stop()


def _open_mixer() -> Any:  # noqa: ANN401 - pygame.mixer.music is a module
    """Pygame's music player, on an open sound device with a SoundFont."""
    pygame = _import_pygame()
    soundfont = find_soundfont()
    if soundfont is not None:
        os.environ["SDL_SOUNDFONTS"] = str(soundfont)
    elif needs_soundfont():
        raise InputError(
            "No SoundFont was found, so that MIDI cannot sound: install pretty_midi, which has one,"
            " or set RWKV_MUSIC_SOUNDFONT to a .sf2 file."
        )
    if not pygame.mixer.get_init():
        try:
            with _quiet_alsa():
                pygame.mixer.init()
        except pygame.error as error:
            raise InputError(
                "This computer has no sound device: play in the browser, or export the MIDI file."
            ) from error
    return pygame.mixer.music


@contextmanager
def _quiet_alsa() -> Iterator[None]:
    """Keep ALSA's own words off the terminal and the notebook: the exception says them too.

    Linux's sound library writes to the file descriptor, past Python.
    """
    if sys.platform != "linux":
        yield
        return
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _import_pygame() -> Any:  # noqa: ANN401
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        with warnings.catch_warnings():
            # pygame 2.6 looks for its resources with a part of setuptools that is going away.
            warnings.simplefilter("ignore")
            import pygame.mixer
    except ImportError as error:
        raise MissingExtraError("playback", "pygame", "playback") from error
    return pygame
