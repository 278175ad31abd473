"""What a session offers below its main buttons: rewriting, wishes, and the tree of versions."""

from collections.abc import Callable

import ipywidgets as widgets

from rwkv_music.generation import Session, SessionNode
from rwkv_music_widgets.roll.piano_roll import PianoRoll
from rwkv_music_widgets.session.branch_tree import BranchTree
from rwkv_music_widgets.session.rewrite_panel import FillRequest, RewritePanel
from rwkv_music_widgets.session.wishes_panel import WishesPanel


class SessionTools(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Panels that share the roll of a session.

    Args:
        roll: Shows the current score.
        can_fill: Whether the model can rewrite bars.
        fill: Called with the request of a button of the rewriting panel.
        go: Called with the id of a node that is clicked in the tree.
    """

    def __init__(
        self,
        roll: PianoRoll,
        *,
        can_fill: bool,
        fill: Callable[[Callable[[], FillRequest]], None],
        go: Callable[[int], object],
    ) -> None:
        self.rewriting = RewritePanel(roll, fill, can_fill=can_fill)
        self.wishes = WishesPanel()
        self.tree = BranchTree(go)
        wishes = widgets.Accordion([self.wishes], titles=("Key, range, density",))
        super().__init__([self.rewriting, wishes, self.tree])

    @property
    def controls(self) -> tuple[widgets.Widget, ...]:
        """What is disabled while candidates are generated."""
        return *self.rewriting.buttons, *self.wishes.controls

    def show(self, session: Session, candidates: list[SessionNode]) -> None:
        """Show the versions of a session, and what the newest candidates have of the wishes."""
        self.wishes.show_result(candidates)
        self.tree.show(session)
