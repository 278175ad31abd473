"""Buttons that write the selected bars and parts anew."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import ipywidgets as widgets

from rwkv_music.errors import InputError
from rwkv_music.generation import Constraints, Controls, Keep
from rwkv_music.score import num_bars
from rwkv_music_widgets.buttons import text_button, wrapped_row
from rwkv_music_widgets.messages import escaped
from rwkv_music_widgets.roll.packed_score import part_names
from rwkv_music_widgets.roll.piano_roll import PianoRoll

NEW_PARTS = (
    "drums", "Electric Bass (finger)", "Acoustic Bass", "Acoustic Grand Piano",
    "Acoustic Guitar (nylon)", "String Ensemble 1", "Violin", "Cello", "Flute", "Trumpet",
    "Church Organ", "Choir Aahs",
)  # fmt: skip
"""Instruments that "Write this part" offers besides those of the piece."""


@dataclass(frozen=True)
class FillRequest:
    """Arguments of `Session.fill` for what is selected."""

    bars: tuple[int, int]
    parts: list[str | int] | None
    keep: Keep | None = None

    def code(self, settings: Mapping[str, object]) -> str:
        """Return the line of Python that makes the same request.

        Args:
            settings: Its further arguments.
        """
        own = {"bars": self.bars, "parts": self.parts}
        keep = {} if self.keep is None else {"keep": self.keep}
        return f"session.session.fill({arguments_text({**own, **keep, **settings})})"


ONLY_CONTINUES = "This model can only continue. Choose general to rewrite bars."


class RewritePanel(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Says what is selected on a roll, and has the buttons that write it anew.

    Args:
        roll: The roll; it is made editable.
        fill: Called with the request when a button is pressed.
        can_fill: Whether the model can rewrite bars; the buttons stay disabled when False.
    """

    def __init__(
        self,
        roll: PianoRoll,
        fill: Callable[[Callable[[], FillRequest]], None],
        *,
        can_fill: bool,
    ) -> None:
        self.roll = roll
        self._can_fill = can_fill
        roll.can_edit = True
        self.region = widgets.HTML()
        """What is selected, in words."""
        self.rewrite_button = text_button(
            "Rewrite this", "pencil", "Write the selected bars and parts anew"
        )
        self.rhythm_button = text_button(
            "Same rhythm, new notes", "music", "Keep onsets, durations and loudness; new pitches"
        )
        self.vary_button = text_button("Vary", "random", "Write some of the notes anew")
        self.amount = widgets.FloatSlider(
            0.3, min=0.05, max=1.0, step=0.05, description="amount", readout_format=".0%",
            style={"description_width": "initial"}, layout=widgets.Layout(width="230px"),
        )  # fmt: skip
        self.part = widgets.Dropdown(
            description="Part", style={"description_width": "initial"},
            layout=widgets.Layout(width="240px"),
        )  # fmt: skip
        self.write_button = text_button(
            "Write this part", "plus", "Write this part, old or new, to the others"
        )
        for button, request in (
            (self.rewrite_button, self.rewriting),
            (self.rhythm_button, self.new_notes),
            (self.vary_button, self.variation),
            (self.write_button, self.part_request),
        ):
            button.disabled = not can_fill
            button.on_click(lambda _button, request=request: fill(request))
        roll.observe(
            lambda _change: self.show(),
            names=["selection", "selected_parts", "locked_parts", "locked_notes", "notes"],
        )
        super().__init__(
            [
                self.region,
                wrapped_row(
                    self.rewrite_button, self.rhythm_button, self.vary_button, self.amount,
                    self.part, self.write_button,
                ),
            ]
        )  # fmt: skip
        self.show()

    @property
    def buttons(self) -> tuple[widgets.Button, ...]:
        """Buttons that are disabled while something is generated."""
        if not self._can_fill:  # they stay disabled
            return ()
        return self.rewrite_button, self.rhythm_button, self.vary_button, self.write_button

    def rewriting(self) -> FillRequest:
        """Return the request to write the selection anew.

        Raises:
            InputError: If nothing is selected, or all of it is locked.
        """
        keep = Keep(notes=self._locked_notes()) if self._locked_notes() else None
        return FillRequest(self._bars(), self._parts(), keep)

    def new_notes(self) -> FillRequest:
        """Return the request for other pitches in the same rhythm.

        Raises:
            InputError: As `rewriting`.
        """
        return FillRequest(self._bars(), self._parts(), Keep(rhythm=True))

    def variation(self) -> FillRequest:
        """Return the request for a variation by the amount shown.

        Raises:
            InputError: As `rewriting`.
        """
        keep = Keep(share=round(1 - self.amount.value, 2), notes=self._locked_notes() or ())
        return FillRequest(self._bars(), self._parts(), keep)

    def part_request(self) -> FillRequest:
        """Return the request to write the chosen part in the selected bars, or in all.

        Raises:
            InputError: If the part is locked.
        """
        part = self.part.value
        if part in self.roll.locked_parts:
            raise InputError(f"the part '{self.part.label}' is locked: unlock it to write it")
        return FillRequest(self.roll.selected_bars or (1, num_bars(self.roll.score)), [part])

    def show(self) -> None:
        """Say what is selected and offer the parts of the piece."""
        names = part_names(self.roll.score)
        options: list[tuple[str, str | int]] = [(name, index) for index, name in enumerate(names)]
        options += [(f"new: {name}", name) for name in NEW_PARTS if name not in names]
        if list(self.part.options) != options:
            self.part.options = options
            self.part.index = len(names)  # the first instrument that the piece does not have
        self.region.value = f'<span role="status">{escaped(self._region_text(names))}</span>'

    def _region_text(self, names: list[str]) -> str:
        if not self._can_fill:
            return ONLY_CONTINUES
        bars, parts = self.roll.selected_bars, self.roll.selected_parts
        if bars is None:
            return (
                "To rewrite: drag over bars (or Shift+→), click the names of parts, "
                "click notes to lock them."
            )
        first, last = bars
        where = f"bar {first}" if first == last else f"bars {first} to {last}"
        which = ", ".join(names[part] for part in parts) if parts else "all parts"
        num_locked = len(self.roll.locked_notes)
        locked = f"; {num_locked} locked note{'' if num_locked == 1 else 's'}" if num_locked else ""
        return f"Selected: {where}, {which}{locked}"

    def _bars(self) -> tuple[int, int]:
        bars = self.roll.selected_bars
        if bars is None:
            raise InputError("nothing is selected: drag over the bars to write anew")
        return bars

    def _parts(self) -> list[str | int] | None:
        """Return the selected parts without the locked ones; None for all."""
        locked = self.roll.locked_parts
        every = range(len(self.roll.score.tracks))
        parts = [part for part in self.roll.selected_parts or every if part not in locked]
        if not parts:
            raise InputError("all selected parts are locked: unlock one to write it anew")
        return None if len(parts) == len(every) else list(parts)

    def _locked_notes(self) -> list[tuple[int, int, int]]:
        """Return the locked notes that begin in the selected bars and parts."""
        from rwkv_music.score import bar_starts

        starts = bar_starts(self.roll.score).tolist()
        first, last = self._bars()
        parts = self._parts()
        return [
            (part, onset, pitch)
            for part, onset, pitch in self.roll.locked_notes
            if starts[first - 1] <= onset < starts[last] and (parts is None or part in parts)
        ]


def arguments_text(arguments: Mapping[str, object]) -> str:
    """Return arguments of a call as Python; fields of an object that have defaults are left out."""
    return ", ".join(f"{name}={_text(value)}" for name, value in arguments.items())


def _text(value: object) -> str:
    if not isinstance(value, Constraints | Controls | Keep):
        return repr(value)
    stated = {
        field.name: getattr(value, field.name)
        for field in fields(value)
        if getattr(value, field.name) != getattr(type(value)(), field.name)
    }
    return f"{type(value).__name__}({arguments_text(stated)})"
