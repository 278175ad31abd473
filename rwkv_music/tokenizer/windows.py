"""Windows of whole bars, each with the header in force at its first bar.

A window is the canonical stream of the music between two bar lines, with all parts of the piece
declared: what the encoder would write if the piece began there. Notes that sound across the cut are
lost; pedals that are down are stated again.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt16

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.tokenizer import Tokenizer
from rwkv_music.tokenizer.vocabulary import Kind

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

    Raises:
        InputError: If the ids do not begin with a header.
    """

    def __init__(self, ids: Ids, tokenizer: Tokenizer) -> None:
        self._vocabulary = tokenizer.vocabulary
        self._ids = ids
        self._kinds = self._vocabulary.kind_of(ids)
        self._bars = np.flatnonzero(self._kinds == Kind.BAR)
        if not len(self._bars) or self._kinds[0] != Kind.BOS:
            raise InputError("the ids are no piece: they need BOS, a header and a bar")
        self._tempos = np.flatnonzero(self._kinds == Kind.TEMPO)
        self._signatures = np.flatnonzero(self._kinds == Kind.NUM)
        self._pedals = np.flatnonzero(self._kinds == Kind.PED)
        self._slots = np.flatnonzero(self._kinds == Kind.SLOT)
        self._sounds = np.flatnonzero(np.isin(self._kinds, (Kind.PED, Kind.PITCH, Kind.DRUM)))
        programs = np.flatnonzero(self._kinds[: self._bars[0]] == Kind.PROG)
        self._parts = ids[programs[0] - 1 : programs[-1] + 1].tolist() if len(programs) else []

    @property
    def num_bars(self) -> int:
        """Bars in the piece."""
        return len(self._bars)

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
        end = int(self._bars[stop]) if stop < self.num_bars else len(self._ids)
        sound = min(opening.first_sound, end)
        lead, slot = self._lead(opening, sound, end)
        head = [*opening.header, self._vocabulary.BAR, *opening.pedals]
        ids = np.concatenate([np.array(head, dtype=np.uint16), lead, slot, self._ids[sound:end]])
        if seam is None:
            return Window(ids, len(ids))
        if seam == start:
            return Window(ids, len(opening.header))
        opens = int(self._bars[seam]) if seam < self.num_bars else end
        before = len(head) + (opens - opening.place)
        moved = before if opens < sound else len(ids) - (end - opens)
        return Window(ids, moved)

    def _check(self, start: int, stop: int, seam: int | None) -> None:
        if not 0 <= start < stop <= self.num_bars:
            raise InputError(
                f"bars [{start}, {stop}) are not in this piece of {self.num_bars} bars: choose "
                f"0 <= start < stop <= {self.num_bars}"
            )
        if seam is not None and not start <= seam <= stop:
            raise InputError(f"the seam must be in [{start}, {stop}], got bar {seam}")

    def _opening(self, bar: int) -> "_Opening":
        """What is in force at a bar, and where its own tokens go on."""
        place = int(self._bars[bar]) + 1
        if self._kind(place) == Kind.NUM:
            place += 2
        if self._kind(place) == Kind.TEMPO:
            place += 2 if self._kind(place + 1) == Kind.TEMPOF else 1
        place = self._behind_pedals(place)
        header = [self._vocabulary.BOS, *self._tempo_at(place), *self._signature_at(place)]
        pedals: list[int] = []
        down = self._pedals_down(place)
        for slot in down:
            pedals += [self._vocabulary.slot[slot], self._vocabulary.pedal[1]]
        sounds = np.searchsorted(self._sounds, place)
        return _Opening(
            header=[*header, *self._parts],
            pedals=pedals,
            place=place,
            first_sound=int(self._sounds[sounds]) if sounds < len(self._sounds) else len(self._ids),
            slot_in_force=down[-1] if down else None,
        )

    def _lead(self, opening: "_Opening", sound: int, end: int) -> tuple[Ids, Ids]:
        """Tokens before the first sound, and the slot it must state since the cut took it away."""
        if sound == end:
            return self._ids[opening.place : end], np.zeros(0, dtype=np.uint16)
        has_own = self._kind(sound - 1) == Kind.SLOT
        lead = self._ids[opening.place : sound - 1 if has_own else sound]
        slot = self._slot_at(sound)
        needed = [] if slot == opening.slot_in_force else [self._vocabulary.slot[slot]]
        return lead, np.array(needed, dtype=np.uint16)

    def _kind(self, place: int) -> int:
        return int(self._kinds[place]) if place < len(self._kinds) else int(Kind.EOS)

    def _behind_pedals(self, place: int) -> int:
        """The index behind the pedal switches that stand at a bar's beginning."""
        while True:
            behind = place + 1 if self._kind(place) == Kind.SLOT else place
            if self._kind(behind) != Kind.PED:
                return place
            place = behind + 1

    def _pedals_down(self, place: int) -> list[int]:
        """Slots whose pedal is down before an index, in order."""
        is_down: dict[int, bool] = {}
        for switch in self._pedals[: np.searchsorted(self._pedals, place)].tolist():
            is_down[self._slot_at(switch)] = int(self._ids[switch]) == self._vocabulary.pedal[1]
        return sorted(slot for slot, down in is_down.items() if down)

    def _slot_at(self, place: int) -> int:
        """The slot in force at an index."""
        stated = self._slots[np.searchsorted(self._slots, place) - 1]
        return int(self._ids[stated]) - self._vocabulary.slot.start

    def _tempo_at(self, place: int) -> list[int]:
        first = int(self._tempos[np.searchsorted(self._tempos, place) - 1])
        stop = first + (2 if self._kind(first + 1) == Kind.TEMPOF else 1)
        tokens: list[int] = self._ids[first:stop].tolist()
        return tokens

    def _signature_at(self, place: int) -> list[int]:
        first = int(self._signatures[np.searchsorted(self._signatures, place) - 1])
        tokens: list[int] = self._ids[first : first + 2].tolist()
        return tokens


@dataclass(frozen=True)
class _Opening:
    """How a window that begins at some bar opens."""

    header: list[int]
    pedals: list[int]
    """Pedals that are down, stated again behind the first BAR."""
    place: int
    """Index in the piece where the bar's own tokens go on."""
    first_sound: int
    """Index of the first note or pedal switch from there."""
    slot_in_force: int | None
    """The slot that `pedals` leaves in force."""
