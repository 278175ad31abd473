"""A picture that stays in the notebook's output and is seen where the kernel is gone."""

import base64
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from rwkv_music_widgets.messages import escaped

_STYLE = (
    # The picture is hidden as long as a widget lives in the same output, and with it the message
    # that JupyterLab shows in place of a widget whose kernel is gone.
    ".jp-OutputArea:has(.rwkv-live) .rwkv-static{display:none}"
    ".jp-OutputArea:has(.rwkv-static):not(:has(.rwkv-live)) .jupyter-widgets:not(:has(*))"
    "{display:none}"
    ".rwkv-static img{max-width:100%;display:block;margin:4px 0}"
)
_START = '<div class="rwkv-static">'
LIVE_CLASS = "rwkv-live"


class StaticPicture:
    """Shows a widget and, below it, pictures that are hidden while the widget lives.

    Args:
        widget: The widget; it is marked as alive.
        draw: Returns SVG pictures of what the widget shows, each with a line of text above it.
    """

    def __init__(
        self, widget: widgets.DOMWidget, draw: Callable[[], Sequence[tuple[str, str]]]
    ) -> None:
        self._widget = widget
        self._draw = draw
        self._handles: list[Any] = []
        widget.add_class(LIVE_CLASS)

    def display(self) -> None:
        """Show the widget and the pictures as the output of the cell that runs."""
        from IPython import display as ipython

        display: Any = ipython.display  # it has no types
        bundle = self._widget._repr_mimebundle_()
        display(*(bundle if isinstance(bundle, tuple) else (bundle,))[:1], raw=True)
        self._handles.append(display(self._bundle(), raw=True, display_id=True))

    def update(self) -> None:
        """Draw the pictures again in every output that shows them."""
        if self._handles:
            content = self._bundle()
            for handle in self._handles:
                handle.update(content, raw=True)

    def _bundle(self) -> dict[str, str]:
        pictures = "".join(
            f"<div>{escaped(text)}</div>"
            f'<img alt="{escaped(text)}" src="data:image/svg+xml;base64,'
            f'{base64.b64encode(svg.encode()).decode()}">'
            for text, svg in self._draw()
        )
        note = "Run the cell to play, edit and continue this."
        text = f"{_START}<style>{_STYLE}</style>{pictures}<small>{note}</small></div>"
        return {"text/html": text, "text/plain": note}
