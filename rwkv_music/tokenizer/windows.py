"""Windows of whole bars, each with the header that holds at its first bar.

A window is the canonical stream of the music between two bar lines, with all parts of the piece
declared: what the encoder would write if the piece began there. Notes that sound across its
beginning are left out; pedals that are down are stated again.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt16

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.bar_index import BarRows, index_bars
from rwkv_music.tokenizer.tokenizer import Tokenizer
from rwkv_music.tokenizer.vocabulary import Vocabulary

Ids = UInt16[np.ndarray, " _"]


@dataclass(frozen=True)
class Window:
    """Some bars of a piece, as a stream of their own."""

    ids: Ids
    completion_start: int
    """Index in `ids` of the BAR of `completion_bar`; `len(ids)` if that was not given."""


class BarIndex:
    """Finds the bars of a piece, and cuts windows at them.

    Args:
        ids: A whole piece as `Tokenizer.encode` gives it.
        tokenizer: The one that made it.
        bar_index: Result of `index_bars` for the ids, where it is known already.

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
    def vocabulary(self) -> Vocabulary:
        """Of the ids."""
        return self._vocabulary

    @property
    def num_bars(self) -> int:
        """Bars in the piece."""
        return len(self._rows)

    @property
    def num_parts(self) -> int:
        """Parts that the piece declares."""
        return len(self._parts) // 2

    def header_at(self, bar: int) -> Ids:
        """Return BOS, tempo, time signature and parts at a bar's beginning.

        Raises:
            InputError: If there is no such bar.
        """
        self._check(bar, bar + 1, None)
        return np.array(self._bar_start(bar).header, dtype=np.uint16)

    def window(self, start: int, stop: int, completion_bar: int | None = None) -> Window:
        """Return the bars from `start` up to but not including `stop`.

        It ends with EOS only if `stop` is the end of the piece.

        Args:
            start: First bar, counted from 0.
            stop: The bar after the last one.
            completion_bar: Bar between `start` and `stop` whose index is to be returned as well.

        Raises:
            InputError: If the bars are not in the piece or in the wrong order.
        """
        self._check(start, stop, completion_bar)
        begin = self._bar_start(start)
        end = self._bar_token(stop)
        head, sound = self._head(begin, end)
        ids = np.concatenate([head, self._ids[sound:end]])
        if completion_bar is None:
            return Window(ids, len(ids))
        if completion_bar == start:
            return Window(ids, len(begin.header))
        opens = self._bar_token(completion_bar)
        before = len(begin.header) + 1 + len(begin.pedals) + (opens - begin.next_token)
        moved = before if opens < sound else len(ids) - (end - opens)
        return Window(ids, moved)

    def fitting(self, start: int, most_tokens: int) -> Ids:
        """Return bars from `start` on, as many as fit into `most_tokens`.

        A first bar that is longer by itself is cut behind the last note or pedal that fits.

        Raises:
            InputError: If there is no such bar, or not even its header and one note fit.
        """
        self._check(start, start + 1, None)
        begin = self._bar_start(start)
        head, sound = self._head(begin, len(self._ids))
        most = sound + most_tokens - len(head)
        if most >= len(self._ids):
            return np.concatenate([head, self._ids[sound:]])
        stop = int(np.searchsorted(self._rows["bar"], most, side="right")) - 1
        if stop > start:
            return self.window(start, stop).ids
        taken = self._ids[sound : max(most, sound)]
        spans = (self._vocabulary.duration, self._vocabulary.pedal)
        ends = [np.flatnonzero((taken >= span[0]) & (taken <= span[-1])) for span in spans]
        length = max((int(indices[-1]) + 1 for indices in ends if len(indices)), default=0)
        if not length:
            raise InputError(
                f"bar {start} does not begin within {most_tokens} tokens, its header alone takes "
                f"{len(begin.header)}: allow more"
            )
        return np.concatenate([head, taken[:length]])

    def _check(self, start: int, stop: int, completion_bar: int | None) -> None:
        if not 0 <= start < stop <= self.num_bars:
            raise InputError(
                f"bars [{start}, {stop}) are not in this piece of {self.num_bars} bars: choose "
                f"0 <= start < stop <= {self.num_bars}"
            )
        if completion_bar is not None and not start <= completion_bar <= stop:
            raise InputError(f"completion_bar must be in [{start}, {stop}], got {completion_bar}")

    def _bar_token(self, bar: int) -> int:
        """Index of a bar's BAR token; behind the last bar, the end of the piece."""
        return int(self._rows[bar]["bar"]) if bar < self.num_bars else len(self._ids)

    def _bar_start(self, bar: int) -> "_BarStart":
        """Return how a window that begins at a bar starts."""
        vocabulary = self._vocabulary
        at, sound, down, tempo, fraction, numerator, denominator, skipped, part, states_part, _ = (
            self._rows.item(bar)
        )
        tempos = (tempo, fraction) if fraction else (tempo,)
        pedals: list[int] = []
        pedal_part = None
        while down:
            pedal_part = (down & -down).bit_length() - 1
            pedals += (vocabulary.part[pedal_part], vocabulary.pedal[1])
            down &= down - 1
        return _BarStart(
            header=[vocabulary.BOS, *tempos, numerator, denominator, *self._parts],
            pedals=pedals,
            next_token=at + 1 + skipped,
            first_sound=sound,
            states_part=bool(states_part),
            part=None if part == pedal_part else part,
        )

    def _head(self, begin: "_BarStart", end: int) -> tuple[Ids, int]:
        """A window's tokens up to its first sound, and the index in the piece of that sound.

        A window that ends at `end`, before the first sound, is all head.
        """
        head = [*begin.header, self._vocabulary.BAR, *begin.pedals]
        if end <= begin.first_sound:
            rest = self._ids[begin.next_token : end]
            return np.concatenate([np.array(head, dtype=np.uint16), rest]), end
        lead = begin.first_sound - begin.states_part
        if lead > begin.next_token:
            head += self._ids[begin.next_token : lead].tolist()
        if begin.part is not None:
            head.append(self._vocabulary.part[begin.part])
        return np.array(head, dtype=np.uint16), begin.first_sound


@dataclass(frozen=True, slots=True)
class _BarStart:
    """How a window that begins at some bar starts."""

    header: list[int]
    pedals: list[int]
    """Pedals that are down, stated again behind the first BAR."""
    next_token: int
    """Index in the piece of the bar's first token that is not stated by header and pedals."""
    first_sound: int
    """Index of the first note or pedal switch from there."""
    states_part: bool
    """Whether the piece states the part of that sound directly before it."""
    part: int | None
    """The part of that sound, unless `pedals` has already made it the current one."""
