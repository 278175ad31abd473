"""One candidate: its piano roll, its player and its buttons."""

from collections.abc import Callable

import ipywidgets as widgets

from rwkv_music.generation import SessionNode
from rwkv_music.playback import SoundPlayer
from rwkv_music_widgets.buttons import text_button, wrapped_row
from rwkv_music_widgets.closing import close_tree, is_open
from rwkv_music_widgets.player.player import Player
from rwkv_music_widgets.roll.piano_roll import PianoRoll


class CandidateRow(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Shows one candidate.

    Args:
        node: The candidate.
        index: Its index, counted from 0; the title counts from 1.
        keep: Called by the button Keep.
        export: Called by the button Export MIDI.
        sound: Sound player shared by all rows, so that only one of them plays at a time.
    """

    def __init__(
        self,
        node: SessionNode,
        index: int,
        *,
        keep: Callable[[], None],
        export: Callable[[], None],
        sound: SoundPlayer,
    ) -> None:
        self.node = node
        self.roll = PianoRoll(node.score, continuation_start=node.continuation_start, height=170)
        self.player = Player(self.roll, sound=sound, show_message=False)
        self.keep_button = text_button("Keep", "check", "Continue from this candidate")
        self.export_button = text_button(
            "Export MIDI", "download", "Save the prompt and this continuation"
        )
        self.keep_button.on_click(lambda _button: keep())
        self.export_button.on_click(lambda _button: export())
        num_new_notes = node.new.note_num() if node.new is not None else 0
        title = widgets.HTML(
            f"<b>Candidate {index + 1}</b> &nbsp; {num_new_notes} new notes &nbsp; "
            f"seed {int(node.settings['seed'])}"
        )
        buttons = wrapped_row(self.player, self.keep_button, self.export_button)
        super().__init__([title, self.roll, buttons], layout=widgets.Layout(margin="8px 0 0 0"))

    def close(self) -> None:
        """Close the row and everything in it, and stop its sound."""
        if is_open(self) and self.player.state == "playing":
            self.player.stop()
        close_tree(self)
