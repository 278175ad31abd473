"""Windows of whole bars, each with the header in force at its first bar.

A window is the canonical stream of the music between two bar lines, with all parts of the piece
declared: what the encoder would write if the piece began there. Notes that sound across the cut are
lost; pedals that are down are stated again.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt16

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.bar_index import BarRows, index_bars
from rwkv_music.tokenizer.tokenizer import Tokenizer

Ids = UInt16[np.ndarray, " _"]


@dataclass(frozen=True)
class Window:
    """Some bars of a piece, as a stream of their own."""

    ids: Ids
    completion_start: int
    """Index in `ids` of the BAR that opens the seam's bar; `len(ids)` without a seam."""


class BarIndex:
    """Finds bars in a piece, and what is in force at each.

    Args:
        ids: A whole piece as `Tokenizer.encode` gives it.
        tokenizer: The one that made it.
        bar_index: What `index_bars` found in it, where that is known already.

    Raises:
        InputError: If the ids do not begin with a header.
    """

    def __init__(self, ids: Ids, tokenizer: Tokenizer, bar_index: BarRows | None = None) -> None:
        self._vocabulary = tokenizer.vocabulary
        self._ids = ids
        self._rows = index_bars(ids, self._vocabulary) if bar_index is None else bar_index
        first = self._rows[0]
        # Before the parts stand BOS, the tempo in one token or two, and the signature in two.
        self._parts = ids[5 if first["tempo_fraction"] else 4 : first["bar"]].tolist()

    @property
    def num_bars(self) -> int:
        """Bars in the piece."""
        return len(self._rows)

    def header_at(self, bar: int) -> Ids:
        """BOS, tempo, time signature and parts in force at a bar's beginning.

        Raises:
            InputError: If there is no such bar.
        """
        self._check(bar, bar + 1, None)
        return np.array(self._opening(bar).header, dtype=np.uint16)

    def window(self, start: int, stop: int, seam: int | None = None) -> Window:
        """The bars from `start` up to but not including `stop`.

        It ends with EOS only if `stop` is the end of the piece.

        Args:
            start: First bar, counted from 0.
            stop: The bar after the last one.
            seam: A bar whose place in the window is wanted, between `start` and `stop`.

        Raises:
            InputError: If the bars are not in the piece or in the wrong order.
        """
        self._check(start, stop, seam)
        opening = self._opening(start)
        end = self._place(stop)
        head, sound = self._head(opening, end)
        ids = np.concatenate([head, self._ids[sound:end]])
        if seam is None:
            return Window(ids, len(ids))
        if seam == start:
            return Window(ids, len(opening.header))
        opens = self._place(seam)
        before = len(opening.header) + 1 + len(opening.pedals) + (opens - opening.place)
        moved = before if opens < sound else len(ids) - (end - opens)
        return Window(ids, moved)

    def fitting(self, start: int, most_tokens: int) -> Ids:
        """Bars from `start` on, as many as fit into so many tokens.

        A first bar that is longer by itself is cut behind the last note or pedal that fits.

        Raises:
            InputError: If there is no such bar, or not even its header and one note fit.
        """
        self._check(start, start + 1, None)
        opening = self._opening(start)
        head, sound = self._head(opening, len(self._ids))
        most = sound + most_tokens - len(head)
        if most >= len(self._ids):
            return np.concatenate([head, self._ids[sound:]])
        stop = int(np.searchsorted(self._rows["bar"], most, side="right")) - 1
        if stop > start:
            return self.window(start, stop).ids
        taken = self._ids[sound : max(most, sound)]
        spans = (self._vocabulary.duration, self._vocabulary.pedal)
        ends = [np.flatnonzero((taken >= span[0]) & (taken <= span[-1])) for span in spans]
        length = max((int(places[-1]) + 1 for places in ends if len(places)), default=0)
        if not length:
            raise InputError(
                f"bar {start} does not begin within {most_tokens} tokens, its header alone takes "
                f"{len(opening.header)}: allow more"
            )
        return np.concatenate([head, taken[:length]])

    def _check(self, start: int, stop: int, seam: int | None) -> None:
        if not 0 <= start < stop <= self.num_bars:
            raise InputError(
                f"bars [{start}, {stop}) are not in this piece of {self.num_bars} bars: choose "
                f"0 <= start < stop <= {self.num_bars}"
            )
        if seam is not None and not start <= seam <= stop:
            raise InputError(f"the seam must be in [{start}, {stop}], got bar {seam}")

    def _place(self, bar: int) -> int:
        """The index of a bar's BAR token; behind the last bar, the end of the piece."""
        return int(self._rows[bar]["bar"]) if bar < self.num_bars else len(self._ids)

    def _opening(self, bar: int) -> "_Opening":
        """What is in force at a bar, and where its own tokens go on."""
        vocabulary = self._vocabulary
        at, sound, down, tempo, fraction, numerator, denominator, skipped, slot, states_slot, _ = (
            self._rows.item(bar)
        )
        tempos = (tempo, fraction) if fraction else (tempo,)
        pedals: list[int] = []
        in_force = None
        while down:
            in_force = (down & -down).bit_length() - 1
            pedals += (vocabulary.part[in_force], vocabulary.pedal[1])
            down &= down - 1
        return _Opening(
            header=[vocabulary.BOS, *tempos, numerator, denominator, *self._parts],
            pedals=pedals,
            place=at + 1 + skipped,
            first_sound=sound,
            states_slot=bool(states_slot),
            slot=None if slot == in_force else slot,
        )

    def _head(self, opening: "_Opening", end: int) -> tuple[Ids, int]:
        """A window's tokens up to its first sound, and the index in the piece of that sound.

        A window that ends at `end`, before the first sound, is all head.
        """
        head = [*opening.header, self._vocabulary.BAR, *opening.pedals]
        if end <= opening.first_sound:
            rest = self._ids[opening.place : end]
            return np.concatenate([np.array(head, dtype=np.uint16), rest]), end
        lead = opening.first_sound - opening.states_slot
        if lead > opening.place:
            head += self._ids[opening.place : lead].tolist()
        if opening.slot is not None:
            head.append(self._vocabulary.part[opening.slot])
        return np.array(head, dtype=np.uint16), opening.first_sound


@dataclass(frozen=True, slots=True)
class _Opening:
    """How a window that begins at some bar opens."""

    header: list[int]
    pedals: list[int]
    """Pedals that are down, stated again behind the first BAR."""
    place: int
    """Index in the piece where the bar's own tokens go on."""
    first_sound: int
    """Index of the first note or pedal switch from there."""
    states_slot: bool
    """Whether the piece states the slot of that sound directly before it."""
    slot: int | None
    """That slot, unless `pedals` leaves it in force."""
