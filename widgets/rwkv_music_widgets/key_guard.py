"""Keeps keys pressed on a widget's buttons from triggering JupyterLab's shortcuts."""

import anywidget
import ipywidgets as widgets

from rwkv_music_widgets.bundle import bundled


class KeyGuard(anywidget.AnyWidget):
    """Invisible child of a box; guards the keys of the whole box."""

    _esm = bundled("key_guard.mjs")


def guard_keys(box: widgets.Box) -> None:
    """Add a `KeyGuard` to a box.

    With the focus on a button, JupyterLab would otherwise run its shortcuts for single keys:
    "m" turns the cell into Markdown, and "d d" deletes it.
    """
    box.add_class("rwkv-widget")
    box.children = (*box.children, KeyGuard())
