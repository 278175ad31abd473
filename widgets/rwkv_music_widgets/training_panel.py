"""The training panel: watches a run directory, and can ask its trainer to stop."""

import html
import threading
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from rwkv_music.errors import InputError
from rwkv_music.score import load_score
from rwkv_music.training import TrainingRun
from rwkv_music.training.run import FINAL_STATES
from rwkv_music_widgets.loss_chart import LossChart
from rwkv_music_widgets.piano_roll import PianoRoll
from rwkv_music_widgets.player import Player
from rwkv_music_widgets.runlog import RunLog, seconds_left

_NONE_YET = ("none yet", -1)
_CHIP = "color:white;border-radius:9px;padding:1px 9px"
_COLORS = {"running": "#2e7d32", "finished": "#1565c0", "failed": "#c62828"}


class TrainingPanel(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Shows a run as it goes on: loss, speed, how busy the device is, and the held-out sample.

    The panel only reads the run directory, so the run may belong to this kernel, another process,
    or yesterday. Its Stop button writes the word the trainer listens to.

    Args:
        run: A run, or the path of its directory.
        refresh_seconds: How often to look; at least 0.25.
    """

    def __init__(self, run: TrainingRun | str | Path, *, refresh_seconds: float = 0.5) -> None:
        # First of all: a panel that is refused here is closed, too.
        self._end = threading.Event()
        if refresh_seconds < 0.25:
            raise InputError(
                f"refresh_seconds must be at least 0.25, got {refresh_seconds}: Jupyter drops "
                "messages that come too fast"
            )
        self.run_log = RunLog(run)
        self.run = self.run_log.run
        self.state = "waiting"
        self.chart = LossChart()
        self.header = widgets.HTML()
        self.figures = widgets.HTML()
        self.stop_button = widgets.Button(
            description="Stop",
            icon="stop",
            tooltip="Finish this step, measure, save, and end",
            layout=widgets.Layout(width="auto"),
        )
        self.stop_button.on_click(lambda _button: self.stop())
        self.roll = PianoRoll(height=200)
        self.player = Player(self.roll)
        self.sample_choice = widgets.SelectionSlider(
            options=(_NONE_YET,), description="sample of", layout=widgets.Layout(width="60%")
        )
        self.sample_choice.observe(lambda _change: self._show_sample(), names=["value"])
        self._busy_label = "device busy"
        self._shown_sample = -1
        self._is_offering = False
        self._refresh_seconds = refresh_seconds
        top = widgets.HBox([self.header, self.stop_button])
        below = widgets.VBox([self.sample_choice, self.roll, self.player])
        super().__init__([top, self.chart, self.figures, below])
        self.refresh()
        self._thread = threading.Thread(target=self._watch, name="training-panel", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask the trainer to finish its step, save and end."""
        if self.state in FINAL_STATES:
            return
        self.run.stop()
        self.stop_button.disabled = True
        self.stop_button.description = "stopping …"

    def close(self) -> None:
        """Stop watching; the run goes on."""
        self._end.set()
        super().close()

    def _watch(self) -> None:
        try:
            while self.state not in FINAL_STATES and not self._end.wait(self._refresh_seconds):
                self.refresh()
        except BaseException as error:
            # A thread's exception is easily missed: say it where the user looks, then let it out.
            self.header.value = f"this panel has stopped: {html.escape(repr(error))}"
            raise

    def refresh(self) -> None:
        """Read what is new and show it."""
        status = self.run_log.status()
        # The status is read first: a final state is then never shown without the last lines.
        if self.run_log.refresh() or self.chart.version == 0:
            config = self.run_log.config()
            floor = config["floor"]["nats_per_token"] if config else 0.0
            self.chart.show(self.run_log.train, self.run_log.valid, floor)
            self._offer_samples()
        self._show_status(status)
        self.figures.value = self._figures_html()

    def _show_status(self, status: dict[str, Any] | None) -> None:
        if status is None:
            path = html.escape(str(self.run.path))
            self.header.value = f"waiting for a run in <code>{path}</code> …"
            return
        state, step, steps = status["state"], status["step"], status["steps"]
        self._busy_label = "GPU busy" if status["device"].startswith("cuda") else "CPU share"
        chip = _COLORS.get(state, "#6d4c41")
        left = seconds_left(self.run_log, step, steps, _duration) if state == "running" else ""
        words = [
            f'<b style="{_CHIP};background:{chip}">{state}</b>',
            f"step {step} of {steps}" if steps else "",
            f"about {left} left" if left else "",
            html.escape(self._where(status["device"])),
            f"<i>{html.escape(status['message'])}</i>" if status["message"] else "",
        ]
        self.header.value = " &nbsp; ".join(word for word in words if word)
        if state in FINAL_STATES:
            self.stop_button.disabled = True
            self.stop_button.description = "Stop"
        self.state = state

    def _where(self, device: str) -> str:
        """The device, and the kernel that runs the recurrence on it once the run says so."""
        kernel = (self.run_log.config() or {}).get("kernel")
        return f"{device}, {kernel} kernel" if kernel else device

    def _figures_html(self) -> str:
        line, held_out = self.run_log.latest, self.run_log.latest_evaluation
        if not line:
            return ""
        config = self.run_log.config()
        floor = config["floor"] if config else None
        cells = [
            ("training", f"{line['loss_train']:.3f} nats per token"),
            ("speed", f"{line['tokens_per_second']:,.0f} tokens/s"),
            (self._busy_label, _percent(line["device_busy_percent"])),
            ("memory", _gib(line["memory_gib"])),
        ]
        if held_out:
            text = f"{held_out['nats_per_note_valid']:.3f} nats per note"
            beside = f" (5-gram: {floor['nats_per_note']:.3f})" if floor else ""
            cells.insert(1, ("held-out", text + beside))
        return " &nbsp; ".join(f"<b>{name}</b> {value}" for name, value in cells)

    def _offer_samples(self) -> None:
        samples = [(f"step {step}", step) for step, _ in self.run_log.samples]
        if not samples or self.sample_choice.options[-1] == samples[-1]:
            return
        was_at_end = self.sample_choice.value == self.sample_choice.options[-1][1]
        kept = self.sample_choice.value
        self._is_offering = True  # new options choose the first of them for a moment
        self.sample_choice.options = samples
        self.sample_choice.value = samples[-1][1] if was_at_end else kept
        self._is_offering = False
        self._show_sample()

    def _show_sample(self) -> None:
        chosen = self.sample_choice.value
        path = dict(self.run_log.samples).get(chosen)
        config = self.run_log.config()
        if path is None or config is None or chosen == self._shown_sample or self._is_offering:
            return
        self.roll.set_score(load_score(path), seam_tick=config["sample"]["seam_tick"])
        self._shown_sample = chosen


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f} %"


def _gib(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f} GiB"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
