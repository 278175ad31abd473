"""Player for a piano roll: the kernel renders the sound, and the browser plays it."""

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
import symusic

from rwkv_music.errors import InputError
from rwkv_music.playback import SoundPlayer, warm_up
from rwkv_music.score import TempoMap, beat_ticks
from rwkv_music_widgets.buttons import text_button, wrapped_row
from rwkv_music_widgets.closing import close_tree, is_open
from rwkv_music_widgets.key_guard import guard_keys
from rwkv_music_widgets.messages import MessageBox
from rwkv_music_widgets.player.sound_settings import SoundSettings
from rwkv_music_widgets.player.sound_stream import SoundRequest, SoundStream
from rwkv_music_widgets.roll.piano_roll import PianoRoll


class _Audible:
    """The player that was started last: only one plays at a time, in all cells."""

    player: "Callable[[], Player | None]" = staticmethod(lambda: None)


class Player(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Plays the score of a piano roll and moves its playhead.

    The browser plays what the kernel renders, with the instruments of a SoundFont or with the
    built-in synthesizer. On request the sound device of the kernel's computer plays.

    Args:
        roll: The roll to play. If it has a selection, Play plays the selection.
        settings: Sound settings of another player, to be shared; settings of its own when None.
        sound: Player of this computer's sound device; a new one when None.

    Example:
        roll = PianoRoll("song.mid")
        display(roll, Player(roll))
    """

    def __init__(
        self,
        roll: PianoRoll,
        *,
        settings: SoundSettings | None = None,
        sound: SoundPlayer | None = None,
    ) -> None:
        self.roll = roll
        self.settings = settings or SoundSettings(sound or SoundPlayer())
        self._lock = threading.RLock()
        self._started_at = 0.0
        self._range: tuple[int, int | None] = (0, None)
        self._played_seconds = 0.0
        self._state = "stopped"
        self._num_streams = 0
        self._stream: SoundStream | None = None
        self.play_button = text_button("Play", "play", "Play everything, or the selection")
        self.play_new_button = text_button(
            "New part", "step-forward", "Play the continuation, from one beat before it"
        )
        self.pause_button = text_button("Pause", "pause", "Pause, or resume")
        self.stop_button = text_button("Stop", "stop", "Stop")
        self.message_box = MessageBox("" if settings else self.settings.message)
        self.play_button.on_click(lambda _button: self._run(self.play))
        self.play_new_button.on_click(lambda _button: self._run(self.play_new))
        self.pause_button.on_click(lambda _button: self._run(self.pause))
        self.stop_button.on_click(lambda _button: self._run(self.stop))
        row = wrapped_row(
            self.play_button, self.play_new_button, self.pause_button, self.stop_button
        )
        shown = [row, self.message_box] if settings else [row, self.settings, self.message_box]
        super().__init__(shown)
        guard_keys(self)
        roll.observe(lambda _change: self._update_buttons(), names=["continuation_start"])
        roll.observe(self._on_end, names=["ended_playback"])
        roll.on_toggle_playback(lambda: self._run(self.toggle))
        roll.on_play_from(lambda tick: self._run(lambda: self.play_ticks(tick, None)))
        roll.observe(lambda _change: self._run(self._play_again), names=["muted_parts"])
        roll.volume = self.settings.volume.value
        self.settings.on_volume(self._set_volume)
        self.settings.on_change(lambda: self._run(self._play_again))
        self._update_buttons()
        if self.settings.soundfont is not None:
            warm_up()

    @property
    def message(self) -> str:
        """Text of the line below the buttons."""
        return self.message_box.text

    @property
    def state(self) -> str:
        """One of "playing", "paused" and "stopped"."""
        return self._state

    def toggle(self) -> None:
        """Pause if playing; resume if paused; otherwise play.

        Raises:
            InputError: If there is nothing to play.
        """
        if self._state == "stopped":
            self.play()
        else:
            self.pause()

    def play(self) -> None:
        """Play the selection, or everything.

        Raises:
            InputError: If there is nothing to play.
        """
        selection = self.roll.selection
        if len(selection) == 2:
            self.play_ticks(int(selection[0]), int(selection[1]))
        else:
            self.play_ticks(_first_onset(self.roll.audible_score()), None)

    def play_new(self) -> None:
        """Play the continuation, from one beat before it.

        Raises:
            InputError: If there is none.
        """
        seam = int(self.roll.continuation_start)
        if seam < 0:
            raise InputError("there is no continuation yet: generate one first")
        earlier = [int(tick) for tick in beat_ticks(self.roll.score) if tick < seam]
        self.play_ticks(earlier[-1] if earlier else seam, None)

    def play_ticks(self, start: int, stop: int | None) -> None:
        """Play a range of the score.

        Args:
            start: First tick.
            stop: Tick after the last one; the end of the piece when None.

        Raises:
            InputError: If no note is in the range.
        """
        score = self.roll.audible_score()
        if not score.note_num():
            raise InputError("there is no music to play: choose a prompt first")
        if not _has_notes(score, start, stop):
            raise InputError("there is no note in this passage: choose another one")
        self._stop_other_player()
        with self._lock:
            self._end_sound()
            settings = self.settings
            if settings.is_here:
                settings.play_here(score, start, stop)
            self._range = (start, stop)
            self._played_seconds = 0.0
            self._num_streams += 1
            self._show_playing()
            if not settings.is_here:
                self._stream = SoundStream(self.roll, self._num_streams, self._on_failure)
                self._stream.start(
                    SoundRequest(score, start, stop, settings.soundfont, settings.speed)
                )

    def pause(self) -> None:
        """Pause; when paused, resume."""
        if self._state == "paused":
            self._resume()
            return
        with self._lock:
            if self._state == "playing":
                self.settings.sound.pause()
                self._played_seconds = self._seconds_played()
                self._state = "paused"
                self._show()

    def stop(self) -> None:
        """Stop playback."""
        with self._lock:
            self._end_sound()
            self._state = "stopped"
            self.roll.show_playback("stopped")

    def wait_for_sound(self) -> None:
        """Wait until the browser has been sent all of the sound."""
        if self._stream is not None:
            self._stream.wait()

    def close(self) -> None:
        """Stop the sound and close the player's widgets; the roll stays open."""
        if is_open(self):
            self.stop()
            close_tree(self)

    def _resume(self) -> None:
        self._stop_other_player()
        with self._lock:
            self.settings.sound.resume()
            self._show_playing()

    def _show_playing(self) -> None:
        self._started_at = time.monotonic() - self._played_seconds
        self._state = "playing"
        self._show()

    def _show(self) -> None:
        start, stop = self._range
        self.roll.show_playback(
            self._state,
            from_tick=start,
            stop_tick=stop,
            current_tick=self.current_tick,
            sound=not self.settings.is_here,
            stream=self._num_streams,
            speed=self.settings.speed,
            loop=self.settings.loop.value,
        )

    def _end_sound(self) -> None:
        self.settings.sound.stop()
        if self._stream is not None:
            self._stream.stop()

    def _seconds_played(self) -> float:
        if self._state != "playing":
            return self._played_seconds
        return time.monotonic() - self._started_at

    @property
    def current_tick(self) -> int:
        """Where the playhead is, to about a tenth of a second."""
        timing = TempoMap(self.roll.score)
        start = float(timing.ticks_to_seconds(self._range[0])[0])
        played = self._seconds_played()
        if self.settings.loop.value:
            played %= self.roll.seconds_between(*self._range) / self.settings.speed
        return int(timing.seconds_to_ticks(start + played * self.settings.speed)[0])

    def _stop_other_player(self) -> None:
        # Without holding this player's lock: the other one takes its own.
        other = _Audible.player()
        if other is not None and other is not self:
            other.stop()
        _Audible.player = weakref.ref(self)

    def _play_again(self) -> None:
        """Apply settings that changed while playing."""
        if self._state != "playing":
            return
        start, stop = self._range
        current = start if self.settings.loop.value else self.current_tick
        if _has_notes(self.roll.audible_score(), current, stop):
            self.play_ticks(current, stop)

    def _on_end(self, change: dict[str, Any]) -> None:
        """Note that the playhead has reached the end; a later playback is not affected."""
        with self._lock:
            if change["new"] == self.roll.playback["count"] and self._state == "playing":
                self._state = "stopped"

    def _on_failure(self, error: Exception) -> None:
        self.stop()
        if isinstance(error, InputError):
            self.message_box.show_error(str(error))
        else:
            self.message_box.show_failure(error)

    def _set_volume(self, volume: float) -> None:
        self.roll.volume = volume

    def _update_buttons(self) -> None:
        self.play_new_button.disabled = self.roll.continuation_start < 0

    def _run(self, action: Callable[[], None]) -> None:
        try:
            action()
        except InputError as error:
            self.message_box.show_error(str(error))
        except Exception as error:  # noqa: BLE001 - shown where the user clicked
            self.message_box.show_failure(error)


def _first_onset(score: symusic.Score) -> int:
    """Return the tick of the first note, so that silence before it is skipped."""
    return min((note.time for track in score.tracks for note in track.notes), default=0)


def _has_notes(score: symusic.Score, start: int, stop: int | None) -> bool:
    """Return whether a note sounds in a range of ticks."""
    notes = (note for track in score.tracks for note in track.notes)
    return any(
        note.time + note.duration > start and (stop is None or note.time < stop) for note in notes
    )
