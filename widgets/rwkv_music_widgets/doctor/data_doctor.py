"""Data doctor: examines a folder of music and shows, plays and explains what it contains."""

import io
import threading
from pathlib import Path

import ipywidgets as widgets

from rwkv_music.data.doctor.folder_report import FolderReport, examine_folder
from rwkv_music.data.doctor.pictures import draw_overview
from rwkv_music.data.doctor.report_text import advice, shown_name
from rwkv_music.errors import InputError
from rwkv_music.score import load_score
from rwkv_music.tokenizer import Tokenizer
from rwkv_music_widgets.closing import close_tree, is_open
from rwkv_music_widgets.doctor.file_table import FileTable
from rwkv_music_widgets.messages import MessageBox, escaped
from rwkv_music_widgets.player.player import Player
from rwkv_music_widgets.roll.piano_roll import PianoRoll

_TEXT_COLOR = "#888888"
"""Readable on light and dark backgrounds."""


class DataDoctor(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Shows the contents of a folder of music, file by file, and what they mean for training.

    The examination runs in the background; the table appears when it is done. A click on a row
    shows that file.

    Args:
        music: A folder, or a report about one.
        tokenizer: Tokenizer that training will use; the default one when None.

    Example:
        doctor = DataDoctor("midi/")
        doctor                     # in a cell of its own: shows it
        doctor.wait().usable       # files that can be trained on
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
        self.message_box = MessageBox()
        self.summary = widgets.HTML()
        self.table = FileTable()
        self.table.observe(lambda _change: self._start_showing(), names=["selected"])
        self.title = widgets.HTML()
        self.roll = PianoRoll(height=200)
        self.player = Player(self.roll)
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
            self.message_box.show_status(f"examining {music} …")
            self._thread.start()

    @property
    def message(self) -> str:
        """The message shown now; empty if there is none."""
        return self.message_box.text

    def wait(self, timeout_seconds: float = 3600) -> FolderReport:
        """Wait for the examination and return its report.

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
        """Show a file, as a click on its row does, and wait until it is shown.

        Raises:
            InputError: If there is no such file in the table.
        """
        self._file_index(name)
        self.table.selected = name
        if self._shown is not None:
            self._shown.join()

    def _examine(self, folder: Path) -> None:
        try:
            report = examine_folder(folder, tokenizer=self._tokenizer, progress=self._on_file)
            self._show(report)
        except BaseException as error:
            # An exception in a thread is easily missed: show it where the user looks.
            self._failure = error
            self.progress.layout.display = "none"
            self.message_box.show_error(
                str(error) if isinstance(error, InputError) else repr(error)
            )
            if not isinstance(error, InputError):
                raise

    def _on_file(self, done: int, total: int, name: str) -> None:
        """Show the progress, at most a hundred times in all."""
        if done == total or done % max(1, total // 100) == 0:
            self.progress.max, self.progress.value = total, done
            self.message_box.show_status(f"examined {done} of {total}: {shown_name(name)}")

    def _show(self, report: FolderReport) -> None:
        self.table.show(report)
        self.summary.value = _summary_html(report)
        picture = io.BytesIO()
        draw_overview(report, text_color=_TEXT_COLOR).savefig(picture, dpi=110)
        self.pictures.value = picture.getvalue()
        self.message_box.clear()
        self.report = report
        self.children = (
            self.summary, self.message_box, self.table, self._listening, self.pictures,
        )  # fmt: skip
        close_tree(self.progress)
        if report.usable:
            self.table.selected = shown_name(report.usable[0].name)

    def _file_index(self, name: str) -> int:
        names = [shown_name(file.name) for file in self.report.files] if self.report else []
        if name not in names:
            raise InputError(f"there is no file '{name}' in the table: choose a name that it shows")
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
            if name == self.table.selected:  # otherwise another row was clicked meanwhile
                self._show_now(name)

    def _show_now(self, name: str) -> None:
        assert self.report is not None
        file = self.report.files[self._file_index(name)]
        self.player.stop()
        hint = "click on a row to see and hear another file"
        self.title.value = f"<b>{escaped(name)}</b> &nbsp; <i style='opacity:.75'>{hint}</i>"
        if file.notes is None:
            # A file that its worker could not read might crash the kernel.
            self.message_box.show_error(f"{name} cannot be shown: {file.reason}")
            return
        try:
            self.roll.set_score(load_score(Path(self.report.folder) / file.name))
        except InputError as error:
            self.message_box.show_error(str(error))
        else:
            self.message_box.clear()

    def close(self) -> None:
        """Stop the sound and close every widget of the doctor."""
        if is_open(self):
            self.player.stop()
            close_tree(self)


def _summary_html(report: FolderReport) -> str:
    blocks = []
    for question, lines in advice(report):
        items = "".join(f"<li>{escaped(line)}</li>" for line in lines)
        blocks.append(f"<b>{escaped(question)}</b><ul style='margin:2px 0 6px'>{items}</ul>")
    return f"<div style='line-height:1.45'>{''.join(blocks)}</div>"
