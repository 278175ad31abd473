"""The training panel: watches a run directory, and steers its trainer."""

import html
import threading
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from rwkv_music.errors import InputError
from rwkv_music.score import load_score
from rwkv_music.training import TrainingRun
from rwkv_music.training.run.directory import FINAL_STATES
from rwkv_music_widgets.loss_chart import LossChart
from rwkv_music_widgets.piano_roll import PianoRoll
from rwkv_music_widgets.player import Player
from rwkv_music_widgets.runlog import RunLog
from rwkv_music_widgets.training_words import figures_html, header_html, kinds_html, warnings_html

_NONE_YET = ("none yet", -1)
_STEERABLE = frozenset({"preparing", "running", "paused"})


class TrainingPanel(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Shows a run as it goes on: loss, speed, how busy the device is, and held-out samples.

    The panel only reads the run directory, so the run may belong to this kernel, another process,
    or yesterday. Its buttons write the words the trainer listens to; a run that was stopped, failed
    or was killed can be taken up again.

    Args:
        run: A run, or the path of its directory.
        refresh_seconds: How often to look; at least 0.25.
    """

    def __init__(self, run: TrainingRun | str | Path, *, refresh_seconds: float = 0.5) -> None:
        # First of all: a panel that is refused here is closed, too.
        self._end = threading.Event()
        self._lock = threading.Lock()
        if refresh_seconds < 0.25:
            raise InputError(
                f"refresh_seconds must be at least 0.25, got {refresh_seconds}: Jupyter drops "
                "messages that come too fast"
            )
        self.run_log = RunLog(run)
        self.run = self.run_log.run
        self.state = "waiting"
        self._asked = ""
        self._make_buttons()
        self.chart = LossChart()
        self.header, self.figures, self.warnings = (widgets.HTML() for _ in range(3))
        self.kinds = widgets.HTML()
        self.details = widgets.Accordion([self.kinds], titles=["Loss by kind of token"])
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
        self._is_offering = False
        self._refresh_seconds = refresh_seconds
        choices = widgets.HBox([self.sample_choice, self.prompt_choice])
        below = widgets.VBox([choices, self.roll, self.player])
        super().__init__(
            [
                self.header,
                self.buttons,
                self.chart,
                self.figures,
                self.warnings,
                self.details,
                below,
            ]
        )
        self.refresh()
        self._watch_in_background()

    def _make_buttons(self) -> None:
        self.pause_button = _button("Pause", "pause", "Finish this step, save, and wait")
        self.stop_button = _button("Stop", "stop", "Finish this step, save, and end")
        self.save_button = _button("Save", "save", "Write a checkpoint now")
        self.sample_button = _button("Sample", "music", "Complete the held-out prompts now")
        self.pause_button.on_click(lambda _button: self.pause_or_resume())
        self.stop_button.on_click(lambda _button: self.stop())
        self.save_button.on_click(lambda _button: self.run.save())
        self.sample_button.on_click(lambda _button: self.run.sample_now())
        self.buttons = widgets.HBox(
            [self.pause_button, self.stop_button, self.save_button, self.sample_button]
        )

    def stop(self) -> None:
        """Ask the trainer to finish its step, save and end."""
        if self.state in FINAL_STATES:
            return
        self.run.stop()
        self.stop_button.disabled = True
        self.stop_button.description = "stopping …"

    def pause_or_resume(self) -> None:
        """Ask the trainer to wait, or to go on; take up again a run that is over."""
        is_going_on = self.state == "running"
        try:
            (self.run.pause if is_going_on else self.run.resume)()
        except InputError as error:
            self.warnings.value = html.escape(str(error))
            return
        self.pause_button.disabled = True
        self.pause_button.description = "pausing …" if is_going_on else "resuming …"
        self._asked = self.state
        self.refresh()
        self._watch_in_background()

    def close(self) -> None:
        """Stop watching; the run goes on."""
        self._end.set()
        super().close()

    def _watch_in_background(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="training-panel", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        me = threading.current_thread()
        try:
            while me is self._thread and not self._end.wait(self._refresh_seconds):
                self.refresh()
                if self.state in FINAL_STATES:
                    break
        except BaseException as error:
            # A thread's exception is easily missed: say it where the user looks, then let it out.
            self.header.value = f"this panel has stopped: {html.escape(repr(error))}"
            raise

    def refresh(self) -> None:
        """Read what is new and show it."""
        with self._lock:
            self._refresh()

    def _refresh(self) -> None:
        status = self.run_log.status()
        # The status is read first: a final state is then never shown without the last lines.
        if self.run_log.refresh() or self.chart.version == 0:
            baselines = {
                name: each["nats_per_token"] for name, each in self.run_log.baselines().items()
            }
            self.chart.show(self.run_log.train, self.run_log.valid, baselines)
            self.kinds.value = kinds_html(self.run_log)
            self.warnings.value = warnings_html(self.run_log)
            self._offer_samples()
        self._show_status(status)
        self.figures.value = figures_html(self.run_log, status["device"] if status else "")

    def _show_status(self, status: dict[str, Any] | None) -> None:
        if status is None:
            path = html.escape(str(self.run.path))
            self.header.value = f"waiting for a run in <code>{path}</code> …"
            return
        self.header.value = header_html(status, self.run_log)
        self.state = status["state"]
        self._show_buttons()

    def _show_buttons(self) -> None:
        """What can be asked for in this state; what was asked stays greyed until it is done."""
        if self.state != self._asked:
            self._asked = ""
            can_resume = self.state in {"paused", "stopped", "failed"}
            self.pause_button.description = "Resume" if can_resume else "Pause"
            self.pause_button.icon = "play" if can_resume else "pause"
            self.pause_button.disabled = self.state in {"preparing", "stopping", "finished"}
        for button in (self.save_button, self.sample_button):
            button.disabled = self.state not in _STEERABLE
        if self.state not in _STEERABLE:
            self.stop_button.disabled = True
            self.stop_button.description = "Stop"
        elif self.stop_button.description == "Stop":
            self.stop_button.disabled = False

    def _offer_samples(self) -> None:
        samples = [(f"step {step}", step) for step in sorted(self.run_log.samples)]
        if not samples or list(self.sample_choice.options) == samples:
            return
        was_at_end = self.sample_choice.value == self.sample_choice.options[-1][1]
        kept = self.sample_choice.value
        is_there = kept in self.run_log.samples
        prompts = len(self.run_log.samples[samples[-1][1]])
        self._is_offering = True  # new options choose the first of them for a moment
        self.sample_choice.options = samples
        self.sample_choice.value = kept if is_there and not was_at_end else samples[-1][1]
        if len(self.prompt_choice.options) != prompts:
            self.prompt_choice.options = [(f"prompt {n + 1}", n) for n in range(prompts)]
            self.prompt_choice.layout.display = None if prompts > 1 else "none"
        self._is_offering = False
        self._show_sample()

    def _show_sample(self) -> None:
        files = self.run_log.samples.get(self.sample_choice.value, [])
        config = self.run_log.config()
        number = self.prompt_choice.value or 0
        if self._is_offering or config is None or number >= len(files):
            return
        if files[number] != self._shown_sample:
            seam_tick = config["samples"][number]["seam_tick"]
            self.roll.set_score(load_score(files[number]), seam_tick=seam_tick)
            self._shown_sample = files[number]


def _button(description: str, icon: str, tooltip: str) -> widgets.Button:
    return widgets.Button(
        description=description, icon=icon, tooltip=tooltip, layout=widgets.Layout(width="auto")
    )
