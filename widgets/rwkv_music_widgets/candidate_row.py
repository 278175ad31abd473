"""One candidate: its piano roll, its player, and what can be done with it."""

from collections.abc import Callable

import ipywidgets as widgets

from rwkv_music.generation import SessionNode
from rwkv_music.playback import Player as SoundPlayer
from rwkv_music_widgets.piano_roll import PianoRoll
from rwkv_music_widgets.player import Player


class CandidateRow(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Shows one candidate.

    Args:
        node: The candidate.
        place: Its number, counted from 0.
        keep: Called to make it the prompt.
        export: Called to save it.
        sound: The sound player that all rows share: one thing sounds at a time.
    """

    def __init__(
        self,
        node: SessionNode,
        place: int,
        *,
        keep: Callable[[], None],
        export: Callable[[], None],
        sound: SoundPlayer,
    ) -> None:
        self.node = node
        self.roll = PianoRoll(node.score, seam_tick=node.seam_tick, height=170)
        self.player = Player(self.roll, sound=sound, show_message=False)
        self.keep_button = _button("Keep", "check", "Make this the prompt and go on from here")
        self.export_button = _button("Export MIDI", "download", "Save prompt and continuation")
        self.keep_button.on_click(lambda _button: keep())
        self.export_button.on_click(lambda _button: export())
        notes = node.new.note_num() if node.new is not None else 0
        title = widgets.HTML(
            f"<b>Candidate {place + 1}</b> &nbsp; {notes} new notes &nbsp; "
            f"seed {node.settings['seed']}"
        )
        buttons = widgets.HBox(
            [self.player, self.keep_button, self.export_button],
            layout=widgets.Layout(flex_flow="row wrap"),
        )
        super().__init__([title, self.roll, buttons], layout=widgets.Layout(margin="8px 0 0 0"))


def _button(text: str, icon: str, tooltip: str) -> widgets.Button:
    return widgets.Button(
        description=text, icon=icon, tooltip=tooltip, layout=widgets.Layout(width="auto")
    )
