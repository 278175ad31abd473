"""Closing widgets together with the widgets that they hold.

`Widget.close` of ipywidgets closes one widget only. Its children, layouts and styles stay in the
kernel's registry and in the notebook's saved state.
"""

from collections.abc import Iterator

import ipywidgets as widgets


def is_open(widget: widgets.Widget) -> bool:
    """Return whether a widget is connected; one that is closed or failed to start is not."""
    return widget.comm is not None


def close_tree(root: widgets.Widget) -> None:
    """Close a widget and every widget that its traits refer to (children, layout, style)."""
    reached: dict[str, widgets.Widget] = {}
    _collect(root, reached)
    for widget in reached.values():
        # A subclass's close() may call close_tree; its own children are closed here.
        widgets.Widget.close(widget)


def _collect(widget: widgets.Widget, reached: dict[str, widgets.Widget]) -> None:
    if not is_open(widget) or widget.model_id in reached:
        return
    reached[widget.model_id] = widget
    for held in _held_widgets(widget):
        _collect(held, reached)


def _held_widgets(widget: widgets.Widget) -> Iterator[widgets.Widget]:
    for name in widget.keys:
        value = getattr(widget, name)
        values = value if isinstance(value, tuple | list) else (value,)
        yield from (held for held in values if isinstance(held, widgets.Widget))
