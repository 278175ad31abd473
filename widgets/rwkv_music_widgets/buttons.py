"""Buttons and rows in the style that all widgets share."""

import ipywidgets as widgets


def text_button(text: str, icon: str, tooltip: str, *, is_primary: bool = False) -> widgets.Button:
    """Return a button as wide as its text.

    Args:
        text: Label.
        icon: Font Awesome name, e.g. "play".
        tooltip: Shown on hover; says what a click does.
        is_primary: Whether it is the main button of its widget.
    """
    return widgets.Button(
        description=text,
        icon=icon,
        tooltip=tooltip,
        button_style="primary" if is_primary else "",
        layout=widgets.Layout(width="auto"),
    )


def wrapped_row(*children: widgets.Widget) -> widgets.HBox:
    """Return a row that wraps where the notebook is narrow."""
    return widgets.HBox(
        list(children), layout=widgets.Layout(flex_flow="row wrap", align_items="center")
    )
