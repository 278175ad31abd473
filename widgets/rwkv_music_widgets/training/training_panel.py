"""Training panel: shows a run directory and controls its trainer."""

import threading
import traceback
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from rwkv_music.errors import InputError
from rwkv_music.score import load_score
from rwkv_music.training import TrainingRun
from rwkv_music.training.run.directory import FINAL_STATES
from rwkv_music_widgets.buttons import text_button
from rwkv_music_widgets.closing import close_tree, is_open
from rwkv_music_widgets.key_guard import guard_keys
from rwkv_music_widgets.messages import MessageBox, escaped
from rwkv_music_widgets.player.player import Player
from rwkv_music_widgets.roll.piano_roll import PianoRoll
from rwkv_music_widgets.training.loss_chart import LossChart
from rwkv_music_widgets.training.run_html import (
    figures_html,
    header_html,
    token_types_html,
    warnings_html,
)
from rwkv_music_widgets.training.run_log import RunLog
from rwkv_music_widgets.training.run_watcher import WATCHER

_NONE_YET = ("none yet", -1)
_CONTROLLABLE = frozenset({"preparing", "running", "paused"})


class TrainingPanel(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Shows a run: loss, speed, utilization of the device, and samples of held-out prompts.

    The panel reads the run directory only, so the run may belong to this kernel, another process,
    or yesterday. Its buttons send commands to the trainer. A run that was stopped, failed or was
    killed can be resumed.

    Args:
        run: A run, or the path of its directory.
        refresh_seconds: Seconds between two updates; at least 0.25.

    Raises:
        InputError: If `refresh_seconds` is too small.
    """

    def __init__(self, run: TrainingRun | str | Path, *, refresh_seconds: float = 0.5) -> None:
        self._lock = threading.Lock()
        if refresh_seconds < 0.25:
            raise InputError(
                f"refresh_seconds must be at least 0.25, got {refresh_seconds}: Jupyter drops "
                "messages that come too fast"
            )
        self.refresh_seconds = refresh_seconds
        self.run_log = RunLog(run)
        self.run = self.run_log.run
        self.state = "waiting"
        self._state_at_command = ""
        self._was_displayed = False
        self._make_buttons()
        self.chart = LossChart()
        self.header, self.figures, self.warnings = (widgets.HTML() for _ in range(3))
        self.message_box = MessageBox()
        self.kinds = widgets.HTML()
        self.details = widgets.Accordion([self.kinds], titles=["Loss by token type"])
        self.roll = PianoRoll(height=200)
        self.player = Player(self.roll)
        self.sample_choice = widgets.SelectionSlider(
            options=(_NONE_YET,), description="sample of", layout=widgets.Layout(width="60%")
        )
        self.prompt_choice = widgets.ToggleButtons(
            options=(("prompt 1", 0),), style={"button_width": "auto"}
        )
        self.prompt_choice.layout.display = "none"
        for choice in (self.sample_choice, self.prompt_choice):
            choice.observe(lambda _change: self._show_sample(), names=["value"])
        self._shown_sample: Path | None = None
        self._is_updating_choices = False
        choices = widgets.HBox([self.sample_choice, self.prompt_choice])
        below = widgets.VBox([choices, self.roll, self.player])
        super().__init__(
            [
                self.header,
                self.buttons,
                self.message_box,
                self.chart,
                self.figures,
                self.warnings,
                self.details,
                below,
            ]
        )
        guard_keys(self)
        # The front end counts the views of a widget whose count is not None.
        self._view_count = 0
        self.observe(self._on_view_count, names=["_view_count"])
        self.refresh()
        WATCHER.add(self)

    def _make_buttons(self) -> None:
        self.pause_button = text_button("Pause", "pause", "Finish this step, save, and wait")
        self.stop_button = text_button("Stop", "stop", "Finish this step, save, and end the run")
        self.save_button = text_button("Save", "save", "Write a checkpoint now")
        self.sample_button = text_button("Sample", "music", "Complete the held-out prompts now")
        self.pause_button.on_click(lambda _button: self.pause_or_resume())
        self.stop_button.on_click(lambda _button: self.stop())
        self.save_button.on_click(lambda _button: self.run.save())
        self.sample_button.on_click(lambda _button: self.run.sample_now())
        self.buttons = widgets.HBox(
            [self.pause_button, self.stop_button, self.save_button, self.sample_button]
        )

    def stop(self) -> None:
        """Ask the trainer to finish its step, save and end."""
        if self.is_final:
            return
        self.run.stop()
        self.stop_button.disabled = True
        self.stop_button.description = "stopping …"

    def pause_or_resume(self) -> None:
        """Ask the trainer to pause or to continue; resume a run that has ended."""
        is_running = self.state == "running"
        self.message_box.clear()
        try:
            (self.run.pause if is_running else self.run.resume)()
        except InputError as error:
            self.message_box.show_error(str(error))
            return
        self.pause_button.disabled = True
        self.pause_button.description = "pausing …" if is_running else "resuming …"
        self._state_at_command = self.state
        self.refresh()
        WATCHER.add(self)

    def close(self) -> None:
        """Stop watching and close every widget of the panel; the run continues."""
        if is_open(self):
            WATCHER.remove(self)
            self.player.stop()
            close_tree(self)

    @property
    def is_hidden(self) -> bool:
        """Whether the panel was displayed once and no view of it is left."""
        return self._was_displayed and not self._view_count

    @property
    def is_final(self) -> bool:
        """Whether the run has ended."""
        return self.state in FINAL_STATES

    def show_failure(self, error: BaseException) -> None:
        """Show that the panel cannot be updated any more, with the traceback."""
        lines = "".join(traceback.format_exception(error))
        self.header.value = (
            f"this panel has stopped: {escaped(repr(error))}"
            f"<details><summary>traceback</summary><pre>{escaped(lines)}</pre></details>"
        )

    def _on_view_count(self, change: dict[str, Any]) -> None:
        if change["new"]:
            self._was_displayed = True

    def refresh(self) -> None:
        """Read what is new and show it."""
        with self._lock:
            self._refresh()

    def _refresh(self) -> None:
        status = self.run_log.status()
        # The status is read first, so that a final state is never shown without the last lines.
        if self.run_log.refresh() or self.chart.version == 0:
            baselines = {
                name: figures["nats_per_token"]
                for name, figures in self.run_log.baselines().items()
            }
            self.chart.show(self.run_log.train, self.run_log.valid, baselines)
            self.kinds.value = token_types_html(self.run_log)
            self.warnings.value = warnings_html(self.run_log)
            self._update_samples()
        self._show_status(status)
        self.figures.value = figures_html(self.run_log, str((status or {}).get("device", "")))

    def _show_status(self, status: dict[str, Any] | None) -> None:
        if status is None:
            path = escaped(self.run.path)
            self.header.value = f"waiting for a run in <code>{path}</code> …"
            return
        self.header.value = header_html(status, self.run_log)
        self.state = status["state"]
        self._show_buttons()

    def _show_buttons(self) -> None:
        """Enable what the state allows; a command stays disabled until the state has changed."""
        if self.state != self._state_at_command:
            self._state_at_command = ""
            can_resume = self.state in {"paused", "stopped", "failed"}
            self.pause_button.description = "Resume" if can_resume else "Pause"
            self.pause_button.icon = "play" if can_resume else "pause"
            self.pause_button.disabled = self.state in {"preparing", "stopping", "finished"}
        for button in (self.save_button, self.sample_button):
            button.disabled = self.state not in _CONTROLLABLE
        if self.state not in _CONTROLLABLE:
            self.stop_button.disabled = True
            self.stop_button.description = "Stop"
        elif self.stop_button.description == "Stop":
            self.stop_button.disabled = False

    def _update_samples(self) -> None:
        steps = [(f"step {step}", step) for step in sorted(self.run_log.samples)]
        if not steps or list(self.sample_choice.options) == steps:
            return
        was_newest = self.sample_choice.value == self.sample_choice.options[-1][1]
        chosen = self.sample_choice.value
        is_available = chosen in self.run_log.samples
        num_prompts = len(self.run_log.samples[steps[-1][1]])
        self._is_updating_choices = True  # new options select the first of them for a moment
        self.sample_choice.options = steps
        self.sample_choice.value = chosen if is_available and not was_newest else steps[-1][1]
        if len(self.prompt_choice.options) != num_prompts:
            self.prompt_choice.options = [
                (f"prompt {index + 1}", index) for index in range(num_prompts)
            ]
            self.prompt_choice.layout.display = None if num_prompts > 1 else "none"
        self._is_updating_choices = False
        self._show_sample()

    def _show_sample(self) -> None:
        files = self.run_log.samples.get(self.sample_choice.value, [])
        descriptions = self.run_log.sample_descriptions()
        index = self.prompt_choice.value or 0
        if self._is_updating_choices or index >= min(len(files), len(descriptions)):
            return
        if files[index] == self._shown_sample:
            return
        try:
            score = load_score(files[index])
        except InputError as error:
            self.message_box.show_error(str(error))
            return
        self.roll.set_score(score, continuation_start=descriptions[index]["continuation_start"])
        self._shown_sample = files[index]
