"""Wishes for new music, and what came of them in the newest candidates."""

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
import symusic

from rwkv_music.generation import Constraints, Controls, SessionNode
from rwkv_music.generation.constraints.harmony import scale_of
from rwkv_music.tokenizer.vocabulary import CONTROL_LEVELS, TokenType
from rwkv_music_widgets.buttons import wrapped_row
from rwkv_music_widgets.messages import escaped
from rwkv_music_widgets.session.rewrite_panel import FillRequest

_STYLE = {"description_width": "initial"}
_TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_KEYS = [f"{tonic} {mode}" for mode in ("major", "minor") for tonic in _TONICS]
_LOWEST, _HIGHEST = 21, 108
_ANY = -1


class WishesPanel(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Key and range, which hold without exception; density and register, which are wishes.

    Below them are the same figures of the newest candidates.
    """

    def __init__(self) -> None:
        self.key = widgets.Dropdown(
            options=[("any key", ""), *((key, key) for key in _KEYS)],
            description="Only notes of",
            style=_STYLE,
            layout=widgets.Layout(width="220px"),
        )
        self.range = widgets.IntRangeSlider(
            value=(_LOWEST, _HIGHEST),
            min=_LOWEST,
            max=_HIGHEST,
            description="Pitches",
            style=_STYLE,
        )
        self.density = _level("Density (rewriting)", TokenType.DENSITY)
        self.register = _level("Register (rewriting)", TokenType.REGISTER)
        self.result = widgets.HTML()
        """What the newest candidates have of it."""
        self.controls: tuple[widgets.Widget, ...] = (
            self.key, self.range, self.density, self.register,
        )  # fmt: skip
        super().__init__([wrapped_row(*self.controls), self.result])

    def arguments(self, score: symusic.Score, request: FillRequest | None = None) -> dict[str, Any]:
        """Return what is set as arguments of `fill_score` or `continue_score`.

        Args:
            score: The parts that it has get the range.
            request: What is filled; the score is continued when None. Only filling has controls.
        """
        limits: dict[str, Any] = {}
        if self.key.value:
            limits["scale"] = self.key.value
        if tuple(self.range.value) != (_LOWEST, _HIGHEST):
            # The parts with pitches come first among those that the model reads.
            parts = range(_num_pitched_parts(score, request))
            limits["pitch_range"] = dict.fromkeys(parts, tuple(self.range.value))
        levels = {"density": self.density.value, "register": self.register.value}
        stated = {name: level for name, level in levels.items() if level != _ANY}
        arguments: dict[str, Any] = {}
        if limits:
            arguments["constraints"] = Constraints(**limits)
        if stated and request is not None:
            arguments["controls"] = Controls(**stated)
        return arguments

    def show_result(self, nodes: Sequence[SessionNode]) -> None:
        """Count what candidates have: onsets a quarter, lowest and highest pitch, notes in key."""
        rows = [
            f"candidate {index}: {_figures(node.new, self.key.value)}"
            for index, node in enumerate(nodes, start=1)
            if node.new is not None and node.new.note_num()
        ]
        self.result.value = "<br>".join(map(escaped, rows))


def _num_pitched_parts(score: symusic.Score, request: FillRequest | None) -> int:
    """Return how many parts with pitches the model reads, with those that are to be written."""
    pitched = {
        index for index, track in enumerate(score.tracks) if len(track.notes) and not track.is_drum
    }
    every = range(len(score.tracks))
    for part in () if request is None else every if request.parts is None else request.parts:
        if isinstance(part, str):
            pitched |= {len(score.tracks)} if part != "drums" else set()
        elif not score.tracks[part].is_drum:
            pitched |= {part}
    return len(pitched)


def _level(description: str, control: TokenType) -> widgets.SelectionSlider:
    levels = range(CONTROL_LEVELS[control])
    return widgets.SelectionSlider(
        options=[("as it comes", _ANY), *((str(level), level) for level in levels)],
        description=description,
        style=_STYLE,
    )


def _figures(new: symusic.Score, key: str) -> str:
    """Return onsets a quarter, the range of pitches, and the share of notes in a key, as text."""
    notes = [note for track in new.tracks if not track.is_drum for note in track.notes]
    onsets = {note.time for track in new.tracks for note in track.notes}
    quarters = max(1, round(new.end() / new.ticks_per_quarter))
    text = f"{len(onsets) / quarters:.1f} onsets a quarter"
    if notes:
        pitches = [note.pitch for note in notes]
        text += f", pitches {min(pitches)} to {max(pitches)}"
        if key:
            _, scale = scale_of(key)
            share = sum(bool(scale[pitch]) for pitch in pitches) / len(pitches)
            text += f", {share:.0%} of the notes in {key}"
    return text
