"""One candidate: its piano roll, its player and its buttons."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import ipywidgets as widgets
import symusic

from rwkv_music.errors import InputError
from rwkv_music.generation import SessionNode
from rwkv_music.score import bar_starts
from rwkv_music_widgets.buttons import text_button, wrapped_row
from rwkv_music_widgets.closing import close_tree, is_open
from rwkv_music_widgets.messages import MessageBox
from rwkv_music_widgets.player.player import Player
from rwkv_music_widgets.player.sound_settings import SoundSettings
from rwkv_music_widgets.roll.piano_roll import PianoRoll
from rwkv_music_widgets.session.branch_tree import node_label


class CandidateRow(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Shows a candidate, then another one in its place.

    Args:
        keep: Called with the candidate's node by the button Keep.
        export: Called with the candidate's node by the button Export; returns the file.
        take: Called with the candidate's node and roll by the button Take bars.
        settings: Sound settings shared by all rows.
    """

    def __init__(
        self,
        *,
        keep: Callable[[SessionNode], None],
        export: Callable[[SessionNode], Path],
        take: Callable[[SessionNode, PianoRoll], None],
        settings: SoundSettings,
    ) -> None:
        self.node: SessionNode | None = None
        self.roll = PianoRoll(height=170)
        self.player = Player(self.roll, settings=settings)
        self.keep_button = text_button("Keep", "check", "Continue from this candidate")
        self.export_button = text_button(
            "Export", "download", "Save the prompt and this continuation in the format chosen above"
        )
        self.message_box = MessageBox()
        self.take_button = text_button(
            "Take bars", "scissors", "Take the bars and parts selected here into the current score"
        )
        self._keep, self._export, self._take = keep, export, take
        self.roll.can_edit = True
        self.take_button.on_click(lambda _button: self._press_take())
        self.keep_button.on_click(lambda _button: self._press_keep())
        self.export_button.on_click(lambda _button: self._press_export())
        self.title = widgets.HTML()
        buttons = wrapped_row(self.player, self.keep_button, self.take_button, self.export_button)
        super().__init__(
            [self.title, self.roll, buttons, self.message_box],
            layout=widgets.Layout(margin="8px 0 0 0", min_width="0"),
        )

    def show(self, node: SessionNode, index: int) -> None:
        """Show a candidate; the sound of the one before stops.

        Args:
            node: The candidate.
            index: Its index, counted from 0; the title counts from 1.
        """
        self.silence()
        self.node = node
        self.message_box.clear()
        self.title.value = f"<b>Candidate {index + 1}</b> &nbsp; {node_label(node)}"
        self.roll.set_score(
            node.score, continuation_start=node.continuation_start, new_end=new_end(node)
        )

    def show_growing(self, prompt: symusic.Score, index: int, start: int) -> None:
        """Show the beginning of a candidate that is being sampled.

        Args:
            prompt: What it continues.
            index: Its index, counted from 0.
            start: Tick at which its first bar begins.
        """
        self.silence()
        self.node = None
        self.message_box.clear()
        self.title.value = f"<b>Candidate {index + 1}</b> &nbsp; …"
        self.roll.set_score(prompt, continuation_start=start)

    def silence(self) -> None:
        """Stop the row's player if it is playing."""
        if self.player.state != "stopped":
            self.player.stop()

    def close(self) -> None:
        """Close the row and everything in it, and stop its sound."""
        if is_open(self):
            self.silence()
            close_tree(self)

    def _press_keep(self) -> None:
        if self.node is not None:
            self._keep(self.node)

    def _press_take(self) -> None:
        if self.node is not None:
            self._take(self.node, self.roll)

    def _press_export(self) -> None:
        if self.node is None:
            return
        self.message_box.show_status("exporting …")
        try:
            self.message_box.show_file(self._export(self.node))
        except InputError as error:
            self.message_box.show_error(str(error))
        except Exception as error:  # noqa: BLE001 - shown where the user clicked
            self.message_box.show_failure(error)


def new_end(node: SessionNode) -> int | None:
    """Return the tick at which the filled bars of a node end; None if nothing was filled."""
    return None if node.new_bars is None else int(bar_starts(node.score)[node.new_bars[1]])


class CandidateRows(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """The rows of the candidates on show, one below the other.

    Rows are reused and closed only together: the browser cannot finish loading a widget that is
    closed while it loads, which happens if a cell generates candidates and replaces them at once.

    Args:
        keep: Called with a candidate's node by its button Keep.
        export: Called with a candidate's node by its button Export.
        take: Called with a candidate's node and roll by its button Take bars.
        hover: Called with a candidate's node while the pointer is over its roll, and then with
            None.
        settings: Sound settings shared by all rows.
    """

    def __init__(
        self,
        *,
        keep: Callable[[SessionNode], None],
        export: Callable[[SessionNode], Path],
        take: Callable[[SessionNode, PianoRoll], None],
        hover: Callable[[SessionNode | None], None],
        settings: SoundSettings,
    ) -> None:
        super().__init__()
        self.layout.display = "grid"
        self.layout.grid_template_columns = "repeat(auto-fill, minmax(440px, 1fr))"
        self.layout.grid_gap = "4px 12px"
        self._new_row = partial(
            CandidateRow, keep=keep, export=export, take=take, settings=settings
        )
        self._hover = hover
        self._made: list[CandidateRow] = []

    def show(self, nodes: list[SessionNode]) -> None:
        """Show these candidates instead of the ones before."""
        for index, (row, node) in enumerate(zip(self._rows(len(nodes)), nodes, strict=True)):
            row.show(node, index)
        self.children = tuple(self._made[: len(nodes)])

    def show_growing(self, prompt: symusic.Score, count: int, start: int) -> list[CandidateRow]:
        """Show the prompt in some rows and return them, to add notes while they are sampled."""
        rows = self._rows(count)
        for index, row in enumerate(rows):
            row.show_growing(prompt, index, start)
        self.children = tuple(rows)
        return rows

    def play_next(self, player: Player) -> None:
        """Let the next candidate play on from where a player is; the first one after the last.

        Args:
            player: Of a candidate, or another one that plays the same music.
        """
        players = [row.player for row in self.children]
        if not players:
            return
        index = players.index(player) + 1 if player in players else 0
        tick = player.current_tick if player.state != "stopped" else None
        following = players[index % len(players)]
        if tick is None:
            following.play_new()
        else:
            following.play_ticks(tick, None)

    def _make_row(self) -> CandidateRow:
        row = self._new_row()
        row.roll.on_switch(lambda: self.play_next(row.player))
        row.roll.on_hover(lambda is_over: self._hover(row.node if is_over else None))
        return row

    def _rows(self, count: int) -> list[CandidateRow]:
        """Return so many rows; the others become silent."""
        while len(self._made) < count:
            self._made.append(self._make_row())
        for row in self._made[count:]:
            row.silence()
        return self._made[:count]

    def close(self) -> None:
        """Close all rows, also those that are not shown."""
        for row in self._made:
            row.close()
        self._made.clear()
        if is_open(self):
            close_tree(self)
