"""Controls of a continuation session: prompt, settings and buttons."""

import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets
import symusic

from rwkv_music.data import prompt_names
from rwkv_music.score import score_from_bytes
from rwkv_music_widgets.buttons import text_button, wrapped_row
from rwkv_music_widgets.code_box import CodeBox
from rwkv_music_widgets.export.score_files import SUFFIXES
from rwkv_music_widgets.messages import escaped
from rwkv_music_widgets.session.rewrite_panel import arguments_text

_SECONDS_BETWEEN_UPDATES = 0.1
_LARGEST_SEED = 999_999
_STYLE = {"description_width": "initial"}
_FILE_TYPES = (".mid", ".midi", ".kar", ".rmi", ".musicxml", ".mxl", ".xml", ".abc", ".krn")


class SessionControls:
    """Controls of a session, in the groups in which it shows them.

    Args:
        model: Name or path of the model; it determines which example prompts are offered.
        prompt_bars: Initial number of bars of the prompt.
    """

    def __init__(self, *, model: str, prompt_bars: int) -> None:
        self.example = widgets.Dropdown(
            options=prompt_names(model),
            description="Example",
            layout=widgets.Layout(width="220px"),
        )
        self.upload = widgets.FileUpload(
            accept=",".join(_FILE_TYPES),
            description="Own file",
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
        self.source = wrapped_row(self.example, self.upload, self.prompt_bars)
        self.loaded = widgets.HTML()
        """What the session works on: the piece, its length, and the model."""
        self.batch = widgets.Dropdown(
            options=[("batch 1 of 1", 0)],
            description="Candidates",
            style=_STYLE,
            layout=widgets.Layout(width="auto", display="none"),
        )
        """Shown if the current prompt has several batches of candidates."""

        self.bars = widgets.IntSlider(4, min=1, max=16, description="New bars", style=_STYLE)
        self.num_candidates = widgets.IntSlider(
            3, min=1, max=8, description="Candidates", style=_STYLE
        )
        self.temperature = widgets.FloatSlider(
            1.0, min=0.0, max=1.5, step=0.05, description="Temperature", style=_STYLE
        )
        self.top_p = widgets.FloatSlider(
            0.95, min=0.05, max=1.0, step=0.05, description="Top-p", style=_STYLE
        )
        self.strength = widgets.FloatSlider(
            1.0, min=0.0, max=2.0, step=0.05, description="Style strength", style=_STYLE
        )
        """Shown only if the session has a style."""
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
            value=True,
            description="new seed each time",
            indent=False,
            layout=widgets.Layout(width="auto"),
        )
        self.settings = widgets.VBox(
            [
                wrapped_row(self.bars, self.num_candidates),
                wrapped_row(self.temperature, self.top_p, self.strength),
            ]
        )

        self.generate = text_button(
            "Generate", "magic", "Generate candidates with these settings", is_primary=True
        )
        self.stop = text_button("Stop", "stop", "Stop and keep what was generated so far")
        self.undo = text_button("Undo", "undo", "Return to the previous prompt")
        self.stop.disabled = self.undo.disabled = True
        self.export = text_button("Export", "download", "Save the score shown above")
        self.format = widgets.Dropdown(
            options=[(name, suffix) for suffix, name in SUFFIXES.items()],
            layout=widgets.Layout(width="170px"),
            tooltip="Format of exported files",
        )
        self.progress = widgets.IntProgress(0, min=0, max=1, layout=widgets.Layout(width="120px"))
        self.progress.layout.visibility = "hidden"
        self.path = widgets.HTML()
        self.actions = wrapped_row(
            self.generate, self.stop, self.progress, self.seed, self.new_seed,
            self.undo, self.export, self.format, self.path,
        )  # fmt: skip
        self._code = CodeBox()
        self.code_row = widgets.Accordion([self._code], titles=("The same in Python",))
        self.choices: tuple[widgets.Widget, ...] = (
            self.generate, self.example, self.upload, self.prompt_bars, self.batch,
        )  # fmt: skip
        """What is disabled while candidates are generated."""
        self._shown_at = 0.0

    def on_settings(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever a setting changes."""
        settings = (
            self.bars, self.num_candidates, self.temperature, self.top_p, self.strength, self.seed,
        )  # fmt: skip
        for setting in settings:
            setting.observe(lambda _change: callback(), names=["value"])

    @property
    def has_style(self) -> bool:
        """Whether the strength of a style can be set."""
        return bool(self.strength.layout.display != "none")

    def offer_style(self) -> None:
        """Show the slider for the strength of a style."""
        self.strength.layout.display = None

    def sampling(self) -> dict[str, Any]:
        """Return the arguments for `continue_score`, drawing and showing a new seed if asked to."""
        if self.new_seed.value:
            self.seed.value = random.randrange(_LARGEST_SEED + 1)  # noqa: S311 - music, not secrets
        return {
            "bars": self.bars.value,
            "candidates": self.num_candidates.value,
            "temperature": self.temperature.value,
            "top_p": self.top_p.value,
            "seed": self.seed.value,
        }

    def take_upload(self) -> tuple[symusic.Score, str]:
        """Return the uploaded score and its name, and let the same file be opened again.

        Raises:
            InputError: If it cannot be read.
        """
        file = self.upload.value[0]
        name, content = file["name"], bytes(file["content"])
        self.upload.value = ()
        return score_from_bytes(content, name=name), name

    def show_generating(self, *, bars: int) -> None:
        """Show that generation has started."""
        self._set_busy(is_busy=True)
        self.progress.max, self.progress.value = bars, 0
        self.progress.layout.visibility = "visible"

    def show_progress(self, bars: int) -> None:
        """Show how many bars the slowest candidate has, at most ten times a second."""
        if time.monotonic() - self._shown_at > _SECONDS_BETWEEN_UPDATES:
            self.progress.value = bars
            self._shown_at = time.monotonic()

    def show_idle(self) -> None:
        """Show that generation has ended."""
        self._set_busy(is_busy=False)
        self.progress.layout.visibility = "hidden"

    def _set_busy(self, *, is_busy: bool) -> None:
        """Disable the choices that would change the prompt while candidates are generated."""
        self.stop.disabled = not is_busy
        for choice in self.choices:
            choice.disabled = is_busy

    def show_loaded(self, name: str, *, bars: int, model: str) -> None:
        """Show which piece and model the session uses, and limit the prompt to the piece."""
        self.loaded.value = f"<b>{escaped(name)}</b>, {bars} bars; model {escaped(model)}"
        self.prompt_bars.max = max(1, bars)

    def show_batches(self, num_batches: int, *, chosen: int) -> None:
        """Offer the batches of candidates of the current prompt."""
        self.batch.options = [
            (f"batch {index + 1} of {num_batches}", index) for index in range(max(1, num_batches))
        ]
        self.batch.value = chosen
        self.batch.layout.display = None if num_batches > 1 else "none"

    def show_path(self, kept: int, bars: int) -> None:
        """Show how many continuations the current score contains."""
        times = "once" if kept == 1 else f"{kept} times"
        self.path.value = f"{bars} bars, continued {times}" if kept else f"{bars} bars"

    def show_code(self, code: str) -> None:
        """Show the Python code that does the same as the button that was pressed last."""
        self._code.code = code

    def code(self, model: str, limits: Mapping[str, object]) -> str:
        """Return the Python code that does the same as the button Generate.

        Args:
            model: Name of the model.
            limits: Further arguments of `continue_score`.
        """
        constraints = f"    {arguments_text(limits)},\n" if limits else ""
        style = f"    style=style.scaled({self.strength.value:g}),\n" if self.has_style else ""
        return (
            "from rwkv_music import continue_score, load_model, save_score\n\n"
            f'model = load_model("{model}")\n'
            "pieces = continue_score(\n"
            "    model, session.current.score,\n"
            f"    bars={self.bars.value}, candidates={self.num_candidates.value}, "
            f"temperature={self.temperature.value:g}, top_p={self.top_p.value:g}, "
            f"seed={self.seed.value},\n"
            f"{style}{constraints}"
            ")\n"
            'save_score(pieces[0].score, "continued.mid")'
        )
