"""Sliders, buttons and lists of a continuation session. They know no music."""

import html
import random
import time
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from rwkv_music.data import prompt_names

_SECONDS_BETWEEN_UPDATES = 0.1
_LARGEST_SEED = 999_999
_STYLE = {"description_width": "initial"}


class Controls:
    """The controls, in groups a session lays out.

    Args:
        model: Name or place of the model, which decides the beginnings to choose from.
        prompt_bars: Bars of the prompt at the beginning.
    """

    def __init__(self, *, model: str, prompt_bars: int) -> None:
        self.beginning = widgets.Dropdown(
            options=prompt_names(model),
            description="Beginning",
            layout=widgets.Layout(width="220px"),
        )
        self.upload = widgets.FileUpload(
            accept=".mid,.midi",
            description="Own MIDI file",
            layout=widgets.Layout(width="auto"),
        )
        self.prompt_bars = widgets.BoundedIntText(
            prompt_bars,
            min=1,
            max=999,
            description="Prompt bars",
            style=_STYLE,
            layout=widgets.Layout(width="150px"),
        )
        self.source = _row(self.beginning, self.upload, self.prompt_bars)

        self.bars = widgets.IntSlider(4, min=1, max=16, description="New bars", style=_STYLE)
        self.number = widgets.IntSlider(3, min=1, max=8, description="Candidates", style=_STYLE)
        self.temperature = widgets.FloatSlider(
            1.0, min=0.0, max=1.5, step=0.05, description="Temperature", style=_STYLE
        )
        self.top_p = widgets.FloatSlider(
            0.95, min=0.05, max=1.0, step=0.05, description="Top-p", style=_STYLE
        )
        self.strength = widgets.FloatSlider(
            1.0, min=0.0, max=2.0, step=0.05, description="Style strength", style=_STYLE
        )
        """Shown only where there is a style."""
        self.strength.layout.display = "none"
        self.seed = widgets.BoundedIntText(
            0,
            min=0,
            max=2**31 - 1,
            description="Seed",
            style=_STYLE,
            layout=widgets.Layout(width="140px"),
        )
        self.new_seed = widgets.Checkbox(
            value=True, description="new one each time", indent=False, layout=_auto()
        )
        self.settings = widgets.VBox(
            [_row(self.bars, self.number), _row(self.temperature, self.top_p, self.strength)]
        )

        self.generate = widgets.Button(
            description="Generate", icon="magic", button_style="primary", layout=_auto()
        )
        self.stop = widgets.Button(description="Stop", icon="stop", disabled=True, layout=_auto())
        self.undo = widgets.Button(
            description="Undo", icon="undo", disabled=True, layout=_auto(),
            tooltip="Go back to the prompt before",
        )  # fmt: skip
        self.export = widgets.Button(
            description="Export MIDI", icon="download", layout=_auto(),
            tooltip="Save the score shown above",
        )  # fmt: skip
        self.progress = widgets.IntProgress(0, min=0, max=1, layout=widgets.Layout(width="120px"))
        self.progress.layout.visibility = "hidden"
        self.path = widgets.HTML()
        self.actions = _row(
            self.generate, self.stop, self.progress, self.seed, self.new_seed,
            self.undo, self.export, self.path,
        )  # fmt: skip
        self._code = widgets.HTML()
        self.code = widgets.Accordion([self._code], titles=("The same in Python",))
        self._shown_at = 0.0

    def on_settings(self, handle: Callable[[], None]) -> None:
        """Call back when a setting changes."""
        settings = (self.bars, self.number, self.temperature, self.top_p, self.strength, self.seed)
        for each in settings:
            each.observe(lambda _change: handle(), names=["value"])

    @property
    def has_style(self) -> bool:
        """Whether a style's strength can be set."""
        return bool(self.strength.layout.display != "none")

    def offer_style(self) -> None:
        """Show the slider of a style's strength."""
        self.strength.layout.display = None

    def sampling(self) -> dict[str, Any]:
        """The arguments for `continue_score`; draws the new seed that is shown and used."""
        if self.new_seed.value:
            self.seed.value = random.randrange(_LARGEST_SEED + 1)  # noqa: S311 - music, not secrets
        return {
            "bars": self.bars.value,
            "candidates": self.number.value,
            "temperature": self.temperature.value,
            "top_p": self.top_p.value,
            "seed": self.seed.value,
        }

    def show_work(self, *, bars: int) -> None:
        """Show that generation has begun."""
        self.generate.disabled, self.stop.disabled = True, False
        self.progress.max, self.progress.value = bars, 0
        self.progress.layout.visibility = "visible"

    def show_bar(self, bars: int) -> None:
        """Show how far the slowest candidate is; not more often than Jupyter likes."""
        if time.monotonic() - self._shown_at > _SECONDS_BETWEEN_UPDATES:
            self.progress.value = bars
            self._shown_at = time.monotonic()

    def show_rest(self) -> None:
        """Show that generation is over."""
        self.generate.disabled, self.stop.disabled = False, True
        self.progress.layout.visibility = "hidden"

    def show_path(self, kept: int, bars: int) -> None:
        """Show how many continuations the current score is made of."""
        times = "once" if kept == 1 else f"{kept} times"
        self.path.value = f"{bars} bars, continued {times}" if kept else f"{bars} bars"

    def show_code(self, model: str) -> None:
        """Show the Python call that does what Generate does."""
        style = f"    style=style.scaled({self.strength.value:g}),\n" if self.has_style else ""
        text = (
            "from rwkv_music import continue_score, load_model, save_score\n\n"
            f'model = load_model("{model}")\n'
            "pieces = continue_score(\n"
            "    model, session.current.score,\n"
            f"    bars={self.bars.value}, candidates={self.number.value}, "
            f"temperature={self.temperature.value:g}, top_p={self.top_p.value:g}, "
            f"seed={self.seed.value},\n"
            f"{style}"
            ")\n"
            'save_score(pieces[0].score, "continued.mid")'
        )
        self._code.value = f"<pre style='margin:0'>{html.escape(text)}</pre>"


def _auto() -> widgets.Layout:
    return widgets.Layout(width="auto")


def _row(*children: widgets.Widget) -> widgets.HBox:
    return widgets.HBox(
        list(children), layout=widgets.Layout(flex_flow="row wrap", align_items="center")
    )
