"""Player: transport buttons for a piano roll, with sound on this computer or in the browser."""

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
import symusic

from rwkv_music.errors import InputError
from rwkv_music.playback import SoundPlayer
from rwkv_music.score import TempoMap
from rwkv_music_widgets.buttons import text_button, wrapped_row
from rwkv_music_widgets.closing import close_tree, is_open
from rwkv_music_widgets.key_guard import guard_keys
from rwkv_music_widgets.messages import MessageBox
from rwkv_music_widgets.roll.piano_roll import PianoRoll

HERE = "This computer"
BROWSER = "This browser"


class _Audible:
    """The player that was started last: only one plays at a time, in all cells."""

    player: "Callable[[], Player | None]" = staticmethod(lambda: None)


class Player(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Plays the score of a piano roll and moves its playhead.

    If the kernel's machine has no sound device, a message says so and the browser plays.

    Args:
        roll: The roll to play. If it has a selection, Play plays the selection.
        sound: Sound player to use; a new one when None.
        show_message: Whether to say why this computer cannot play.
    """

    def __init__(
        self, roll: PianoRoll, *, sound: SoundPlayer | None = None, show_message: bool = True
    ) -> None:
        self.roll = roll
        self.sound = sound or SoundPlayer()
        self._lock = threading.RLock()
        self._started_at = 0.0
        self._from_tick = 0
        self._stop_tick: int | None = None
        self._state = "stopped"
        self.play_button = text_button("Play", "play", "Play everything, or the selection")
        self.play_new_button = text_button("New part", "step-forward", "Play the continuation only")
        self.pause_button = text_button("Pause", "pause", "Pause, or resume")
        self.stop_button = text_button("Stop", "stop", "Stop")
        self.where = widgets.Dropdown(
            options=[HERE, BROWSER] if self.sound.available else [BROWSER],
            layout=widgets.Layout(width="130px"),
            tooltip="Device that produces the sound",
        )
        self.message_box = MessageBox(self.sound.message if show_message else "")
        self.play_button.on_click(lambda _button: self._run(self.play))
        self.play_new_button.on_click(lambda _button: self._run(self.play_new))
        self.pause_button.on_click(lambda _button: self._run(self.pause))
        self.stop_button.on_click(lambda _button: self._run(self.stop))
        row = wrapped_row(
            self.play_button,
            self.play_new_button,
            self.pause_button,
            self.stop_button,
            self.where,
        )
        super().__init__([row, self.message_box])
        guard_keys(self)
        roll.observe(lambda _change: self._update_buttons(), names=["continuation_start"])
        roll.observe(self._on_end, names=["ended_playback"])
        roll.on_toggle_playback(lambda: self._run(self.toggle))
        self._update_buttons()

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
            self.play_ticks(_first_onset(self.roll.score), None)

    def play_new(self) -> None:
        """Play the continuation.

        Raises:
            InputError: If there is none.
        """
        if self.roll.continuation_start < 0:
            raise InputError("there is no continuation yet: generate one first")
        self.play_ticks(int(self.roll.continuation_start), None)

    def play_ticks(self, start: int, stop: int | None) -> None:
        """Play a range of the score.

        Args:
            start: First tick.
            stop: Tick after the last one; the end of the piece when None.

        Raises:
            InputError: If the score is empty.
        """
        if not self.roll.score.note_num():
            raise InputError("there is no music to play: choose a prompt first")
        self._stop_other_player()
        with self._lock:
            is_here = self.where.value == HERE
            if is_here:
                self.sound.play(self.roll.score, start_tick=start, stop_tick=stop)
            self._from_tick, self._stop_tick = start, stop
            self._started_at = time.monotonic()
            self._state = "playing"
            self.roll.show_playback("playing", from_tick=start, stop_tick=stop, sound=not is_here)

    def pause(self) -> None:
        """Pause; when paused, resume."""
        with self._lock:
            if self._state == "playing":
                self._from_tick = self._current_tick()
                self.sound.stop()
                self._state = "paused"
                self.roll.show_playback("paused", from_tick=self._from_tick)
            elif self._state == "paused":
                self.play_ticks(self._from_tick, self._stop_tick)

    def stop(self) -> None:
        """Stop playback."""
        with self._lock:
            self.sound.stop()
            self._state = "stopped"
            self.roll.show_playback("stopped")

    def close(self) -> None:
        """Stop the sound and close the player's widgets; the roll stays open."""
        if is_open(self):
            self.stop()
            close_tree(self)

    def _current_tick(self) -> int:
        timing = TempoMap(self.roll.score)
        start = float(timing.ticks_to_seconds(self._from_tick)[0])
        return int(timing.seconds_to_ticks(start + time.monotonic() - self._started_at)[0])

    def _stop_other_player(self) -> None:
        # Without holding this player's lock: the other one takes its own.
        other = _Audible.player()
        if other is not None and other is not self:
            other.stop()
        _Audible.player = weakref.ref(self)

    def _on_end(self, change: dict[str, Any]) -> None:
        """Note that the playhead has reached the end; a later playback is not affected."""
        with self._lock:
            if change["new"] == self.roll.playback["count"] and self._state == "playing":
                self._state = "stopped"

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
