"""Settings of the sound: instruments, volume, tempo, loop, and the device that plays."""

from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets
import symusic

from rwkv_music.playback import SoundPlayer, choose_soundfont, find_soundfonts
from rwkv_music_widgets.buttons import wrapped_row

HERE = "This computer"
BROWSER = "This browser"
SYNTHESIZER = "Built-in synthesizer"

_STYLE = {"description_width": "initial"}


class SoundSettings(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Controls that several players can share.

    Args:
        sound: Player of this computer's sound device; offered if it is available.

    Attributes:
        message: Why the built-in synthesizer plays; empty if a SoundFont does.
    """

    def __init__(self, sound: SoundPlayer) -> None:
        self.sound = sound
        chosen, sentence = choose_soundfont()
        self.message = "" if chosen is not None else sentence
        soundfonts = find_soundfonts() if chosen is not None else []
        self.instruments = widgets.Dropdown(
            options=[*((path.stem, path) for path in soundfonts), (SYNTHESIZER, None)],
            value=chosen,
            description="Instruments",
            tooltip="SoundFont with the instruments; set RWKV_MUSIC_SOUNDFONT to add your own",
            style=_STYLE,
            layout=widgets.Layout(width="auto"),
        )
        self.volume = widgets.FloatSlider(
            0.8, min=0.0, max=1.0, step=0.05, description="Volume", readout=False, style=_STYLE,
            layout=widgets.Layout(width="170px"),
        )  # fmt: skip
        self.tempo = widgets.IntSlider(
            100, min=50, max=150, step=5, description="Tempo %", style=_STYLE,
            layout=widgets.Layout(width="220px"),
        )  # fmt: skip
        self.loop = widgets.ToggleButton(
            False, description="Loop", icon="repeat", tooltip="Repeat the piece or the selection",
            layout=widgets.Layout(width="auto"),
        )  # fmt: skip
        self.where = widgets.Dropdown(
            options=[BROWSER, HERE] if sound.available else [BROWSER],
            layout=widgets.Layout(width="130px"),
            tooltip="Device that produces the sound",
        )
        self.where.layout.display = None if sound.available else "none"
        super().__init__(
            [wrapped_row(self.loop, self.volume, self.tempo, self.instruments, self.where)]
        )

    @property
    def soundfont(self) -> Path | None:
        """The chosen SoundFont; None for the built-in synthesizer."""
        value: Path | None = self.instruments.value
        return value

    @property
    def speed(self) -> float:
        """Factor of the tempo."""
        return float(self.tempo.value) / 100

    @property
    def is_here(self) -> bool:
        """Whether this computer's sound device plays, and not the browser."""
        return bool(self.where.value == HERE)

    def on_volume(self, callback: Callable[[float], None]) -> None:
        """Call `callback` with the volume, from 0 to 1, when it changes."""
        self.volume.observe(lambda change: callback(change["new"]), names=["value"])

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the tempo, the loop or the instruments change."""
        for control in (self.tempo, self.loop, self.instruments, self.where):
            control.observe(lambda _change: callback(), names=["value"])

    def play_here(self, score: symusic.Score, start: int, stop: int | None) -> None:
        """Play on this computer's sound device with these settings.

        Args:
            score: The score.
            start: First tick.
            stop: Tick after the last one; the end of the piece when None.
        """
        self.sound.set_volume(self.volume.value)
        self.sound.play(
            score, start_tick=start, stop_tick=stop, speed=self.speed, loop=self.loop.value
        )
