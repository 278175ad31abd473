"""The player: transport buttons for a piano roll, sounding here or in the browser."""

import threading
import time
from typing import Any

import ipywidgets as widgets

from rwkv_music.errors import InputError
from rwkv_music.playback import Player as SoundPlayer
from rwkv_music.score import TempoMap
from rwkv_music_widgets.piano_roll import PianoRoll

HERE = "This computer"
BROWSER = "This browser"


class Player(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Plays what a piano roll shows, and moves its playhead.

    Where this kernel's machine has no sound device, one sentence says so and the browser sounds.

    Args:
        roll: What to play. Its selection, if there is one, is what Play plays.
        sound: The sound player; one is made when None.
        show_message: Whether to say so where this computer cannot sound.
    """

    def __init__(
        self, roll: PianoRoll, *, sound: SoundPlayer | None = None, show_message: bool = True
    ) -> None:
        self.roll = roll
        self.sound = sound or SoundPlayer()
        self._lock = threading.RLock()
        self._began = 0.0
        self._from_tick = 0
        self._stop_tick: int | None = None
        self._state = "stopped"
        self.play_button = _button("Play", "play", "Play from the beginning, or the selection")
        self.play_new_button = _button("New part", "step-forward", "Play only the continuation")
        self.pause_button = _button("Pause", "pause", "Pause, or go on")
        self.stop_button = _button("Stop", "stop", "Stop")
        self.where = widgets.Dropdown(
            options=[HERE, BROWSER] if self.sound.available else [BROWSER],
            layout=widgets.Layout(width="130px"),
            tooltip="Where the sound comes from",
        )
        self.message_label = widgets.HTML(_note(self.sound.message if show_message else ""))
        self.play_button.on_click(lambda _button: self._do(self.play))
        self.play_new_button.on_click(lambda _button: self._do(self.play_new))
        self.pause_button.on_click(lambda _button: self._do(self.pause))
        self.stop_button.on_click(lambda _button: self._do(self.stop))
        row = widgets.HBox(
            [
                self.play_button,
                self.play_new_button,
                self.pause_button,
                self.stop_button,
                self.where,
            ],
            layout=widgets.Layout(flex_flow="row wrap"),
        )
        super().__init__([row, self.message_label])
        roll.observe(lambda _change: self._show_buttons(), names=["seam_tick"])
        self._show_buttons()

    @property
    def message(self) -> str:
        """What the line under the buttons says."""
        return str(self.message_label.value)

    @property
    def state(self) -> str:
        """One of "playing", "paused" and "stopped"."""
        return self._state

    def play(self) -> None:
        """Play the selection, or everything."""
        chosen = self.roll.selection
        if len(chosen) == 2:
            self.play_ticks(int(chosen[0]), int(chosen[1]))
        else:
            self.play_ticks(0, None)

    def play_new(self) -> None:
        """Play from the seam on."""
        if self.roll.seam_tick < 0:
            raise InputError("there is no continuation yet: generate one first")
        self.play_ticks(int(self.roll.seam_tick), None)

    def play_ticks(self, start: int, stop: int | None) -> None:
        """Play a stretch of the roll's score.

        Raises:
            InputError: If there is nothing to hear in it.
        """
        with self._lock:
            if not self.roll.score.note_num():
                raise InputError("there is no music to play: choose a prompt first")
            here = self.where.value == HERE
            if here:
                self.sound.play(self.roll.score, start_tick=start, stop_tick=stop)
            self._from_tick, self._stop_tick = start, stop
            self._began = time.monotonic()
            self._state = "playing"
            self.roll.show_playback("playing", from_tick=start, stop_tick=stop, sound=not here)

    def pause(self) -> None:
        """Hold where it is; called again, go on."""
        with self._lock:
            if self._state == "playing":
                self._from_tick = self._tick_now()
                self.sound.stop()
                self._state = "paused"
                self.roll.show_playback("paused", from_tick=self._from_tick)
            elif self._state == "paused":
                self.play_ticks(self._from_tick, self._stop_tick)

    def stop(self) -> None:
        """End playback."""
        with self._lock:
            self.sound.stop()
            self._state = "stopped"
            self.roll.show_playback("stopped")

    def _tick_now(self) -> int:
        timing = TempoMap(self.roll.score)
        start = float(timing.ticks_to_seconds(self._from_tick)[0])
        return int(timing.seconds_to_ticks(start + time.monotonic() - self._began)[0])

    def _show_buttons(self) -> None:
        self.play_new_button.disabled = self.roll.seam_tick < 0

    def _do(self, action: Any) -> None:
        try:
            action()
        except InputError as error:
            self.message_label.value = _note(str(error))


def _button(text: str, icon: str, tooltip: str) -> widgets.Button:
    return widgets.Button(
        description=text, icon=icon, tooltip=tooltip, layout=widgets.Layout(width="auto")
    )


def _note(text: str) -> str:
    return f'<span role="status" style="opacity:.75">{text}</span>' if text else ""
