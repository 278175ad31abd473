"""Messages to the user: escaped, and announced by screen readers."""

import base64
import html
import traceback
from pathlib import Path

import ipywidgets as widgets

from rwkv_music.printable import printable

_ERROR_COLOR = "#c62828"
_LARGEST_DOWNLOAD_BYTES = 20 << 20
"""Larger files are not copied into the page."""


def escaped(value: object) -> str:
    """Return a value as text that is safe inside HTML.

    Everything that comes from a file, a run directory or a model passes through this function
    before it reaches a widget that renders HTML.
    """
    return html.escape(printable(str(value)))


class MessageBox(widgets.HTML):  # type: ignore[misc] # ipywidgets has no types
    """A line of text: an error (announced at once) or a status."""

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.text = ""
        """The message without markup; empty if there is none."""
        self.show_status(text)

    def show_error(self, text: str) -> None:
        """Show an error."""
        self._show(text, role="alert", style=f"color:{_ERROR_COLOR}")

    def show_status(self, text: str) -> None:
        """Show progress or a result."""
        self._show(text, role="status", style="opacity:.75")

    def show_failure(self, error: BaseException) -> None:
        """Show an unexpected error, with its traceback folded out on request."""
        self.show_error(f"unexpected error: {error!r}")
        lines = "".join(traceback.format_exception(error))
        self.value += (
            f"<details><summary>Traceback, for a bug report</summary>"
            f"<pre>{escaped(lines)}</pre></details>"
        )

    def show_file(self, path: Path) -> None:
        """Show where a file was saved, with a link that downloads it in the browser."""
        self.show_status(f"saved as {path.resolve()}")
        if path.stat().st_size <= _LARGEST_DOWNLOAD_BYTES:
            content = base64.b64encode(path.read_bytes()).decode()
            self.value += (
                f' <a download="{escaped(path.name)}" style="text-decoration:underline"'
                f' href="data:application/octet-stream;base64,{content}">Download</a>'
            )

    def clear(self) -> None:
        """Remove the message."""
        self.show_status("")

    def _show(self, text: str, *, role: str, style: str) -> None:
        self.text = text
        markup = f'<span role="{role}" style="{style}">{escaped(text)}</span>'
        self.value = markup if text else ""
