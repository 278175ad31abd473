"""The data doctor: a folder of music examined, to look at, to listen to, and told in words."""

import html
import io
import threading
from pathlib import Path

import ipywidgets as widgets

from rwkv_music.data.doctor.folder_report import FolderReport, examine_folder
from rwkv_music.data.doctor.pictures import draw_overview
from rwkv_music.data.doctor.report_text import advice
from rwkv_music.errors import InputError
from rwkv_music.score import load_score
from rwkv_music.tokenizer import Tokenizer
from rwkv_music_widgets.file_table import FileTable
from rwkv_music_widgets.piano_roll import PianoRoll
from rwkv_music_widgets.player import Player

_TEXT_COLOR = "#888888"
"""Readable on light and on dark ground."""


class DataDoctor(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Shows what is in a folder of music, file by file, and what that means for training.

    The examination runs in the background; the table appears when it is done. A click on a row
    shows and plays that file.

    Args:
        music: A folder, or the report of one.
        tokenizer: What training will use; the default one when None.

    Example:
        doctor = DataDoctor("midi/")
        doctor                     # in a cell of its own: shows it
        doctor.wait().usable       # the files that can be trained on
    """

    def __init__(
        self, music: str | Path | FolderReport, *, tokenizer: Tokenizer | None = None
    ) -> None:
        self.report: FolderReport | None = None
        """None until the examination is done."""
        self._tokenizer = tokenizer
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._shown: threading.Thread | None = None
        self.progress = widgets.IntProgress(0, min=0, max=1, layout=widgets.Layout(width="50%"))
        self.message_box = widgets.HTML()
        self.summary = widgets.HTML()
        self.table = FileTable()
        self.table.observe(lambda _change: self._start_showing(), names=["selected"])
        self.title = widgets.HTML()
        self.roll = PianoRoll(height=200)
        self.player = Player(self.roll, show_message=False)
        self.player.play_new_button.layout.display = "none"  # nothing is continued here
        self._listening = widgets.VBox([self.title, self.roll, self.player])
        self.pictures = widgets.Image(format="png", layout=widgets.Layout(width="100%"))
        self.pictures.alt = "Lengths, pitches, durations and time signatures of the files"
        super().__init__([self.progress, self.message_box])
        if isinstance(music, FolderReport):
            self._show(music)
        else:
            self._thread = threading.Thread(
                target=self._examine, args=(Path(music),), name="data-doctor", daemon=True
            )
            self._say(f"examining {music} …", alert=False)
            self._thread.start()

    @property
    def message(self) -> str:
        """What the widget says now; empty if all is well."""
        return html.unescape(self.message_box.value.partition(">")[2].rpartition("<")[0])

    def wait(self, timeout_seconds: float = 3600) -> FolderReport:
        """Wait for the examination.

        Raises:
            TimeoutError: If it takes longer.
            InputError: If there was nothing to examine.
        """
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        if self._failure is not None:
            raise self._failure
        if self.report is None:
            raise TimeoutError(f"still examining after {timeout_seconds} seconds")
        return self.report

    def select(self, name: str) -> None:
        """Show a file, as a click on its row does, and wait for it.

        Raises:
            InputError: If there is no such file in the table.
        """
        self._file(name)
        self.table.selected = name
        if self._shown is not None:
            self._shown.join()

    def _examine(self, folder: Path) -> None:
        try:
            report = examine_folder(folder, tokenizer=self._tokenizer, progress=self._on_file)
            self._show(report)
        except BaseException as error:
            # A thread's exception is easily missed: say it where the user looks.
            self._failure = error
            self.progress.layout.display = "none"
            self._say(str(error) if isinstance(error, InputError) else repr(error))
            if not isinstance(error, InputError):
                raise

    def _on_file(self, done: int, total: int, name: str) -> None:
        """Not more often than Jupyter likes: a hundred times in all."""
        if done == total or done % max(1, total // 100) == 0:
            self.progress.max, self.progress.value = total, done
            self._say(f"examined {done} of {total}: {name}", alert=False)

    def _show(self, report: FolderReport) -> None:
        self.table.show(report)
        self.summary.value = _summary_html(report)
        picture = io.BytesIO()
        draw_overview(report, text_color=_TEXT_COLOR).savefig(picture, dpi=110)
        self.pictures.value = picture.getvalue()
        self._say("")
        self.report = report
        self.children = (
            self.summary, self.message_box, self.table, self._listening, self.pictures,
        )  # fmt: skip
        if report.usable:
            self.table.selected = report.usable[0].name

    def _file(self, name: str) -> int:
        names = [file.name for file in self.report.files] if self.report else []
        if name not in names:
            raise InputError(f"there is no file '{name}' in the table: take a name from it")
        return names.index(name)

    def _start_showing(self) -> None:
        name = self.table.selected
        if name and self.report is not None:
            self._shown = threading.Thread(
                target=self._show_file, args=(name,), name="show-file", daemon=True
            )
            self._shown.start()

    def _show_file(self, name: str) -> None:
        with self._lock:
            if name == self.table.selected:  # else another row was clicked meanwhile
                self._show_now(name)

    def _show_now(self, name: str) -> None:
        assert self.report is not None
        file = self.report.files[self._file(name)]
        self.player.stop()
        hint = "click on a row to see and hear another file"
        self.title.value = f"<b>{html.escape(name)}</b> &nbsp; <i style='opacity:.75'>{hint}</i>"
        if file.notes is None:
            # Never read here what could not be read there: it may take the kernel down.
            self._say(f"{name} cannot be shown: {file.reason}")
            return
        try:
            self.roll.set_score(load_score(Path(self.report.folder) / name))
        except InputError as error:
            self._say(str(error))
        else:
            self._say("")

    def _say(self, text: str, *, alert: bool = True) -> None:
        role, color = ("alert", "#c62828") if alert else ("status", "inherit")
        said = f'<span role="{role}" style="color:{color}">{html.escape(text)}</span>'
        self.message_box.value = said if text else ""


def _summary_html(report: FolderReport) -> str:
    blocks = []
    for question, lines in advice(report):
        items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
        blocks.append(f"<b>{question}</b><ul style='margin:2px 0 6px'>{items}</ul>")
    return f"<div style='line-height:1.45'>{''.join(blocks)}</div>"
