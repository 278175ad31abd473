"""The tree of a session, to click on."""

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from rwkv_music.generation import Session, SessionNode
from rwkv_music_widgets.bundle import bundled, style_sheet


class BranchTree(anywidget.AnyWidget):
    """Shows every version of a session; a click makes one the current score.

    Args:
        go: Called with the id of the node that is clicked.
    """

    _esm = bundled("branch_tree.mjs")
    _css = style_sheet("branch_tree.css")

    nodes: traitlets.List[Any] = traitlets.List().tag(sync=True)
    """Id, parent and label of each node."""
    current = traitlets.Int(0).tag(sync=True)

    def __init__(self, go: Callable[[int], object]) -> None:
        super().__init__()
        self._go = go
        self.on_msg(self._on_message)

    def show(self, session: Session) -> None:
        """Show the nodes of a session; nothing while there is only one."""
        rows = [[node.id, node.parent, node_label(node)] for node in session.nodes]
        with self.hold_sync():
            self.nodes = rows if len(rows) > 1 else []
            self.current = session.current.id

    def _on_message(self, _tree: "BranchTree", content: dict[str, Any], _buffers: Any) -> None:
        if content.get("type") == "go":
            self._go(int(content["id"]))


def node_label(node: SessionNode) -> str:
    """Return how a node was made, in words."""
    settings = node.settings
    if node.parent is None:
        return "the prompt"
    if "combined_with" in settings:
        return "bars {} to {} taken from version {}".format(
            *settings["bars"], settings["combined_with"]
        )
    num_new_notes = node.new.note_num() if node.new is not None else 0
    bars = "" if node.new_bars is None else " in bars {} to {}".format(*node.new_bars)
    return f"{num_new_notes} new notes{bars}, seed {int(settings['seed'])}"
