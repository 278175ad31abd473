"""Lines of Python that can be copied with one click."""

import anywidget
import traitlets

from rwkv_music_widgets.bundle import bundled, style_sheet


class CodeBox(anywidget.AnyWidget):
    """Shows `code` and a button Copy."""

    _esm = bundled("code_box.mjs")
    _css = style_sheet("code_box.css")

    code = traitlets.Unicode("").tag(sync=True)
