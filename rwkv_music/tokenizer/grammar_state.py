"""What the grammar knows about the tokens so far."""

from collections.abc import Iterable
from typing import NamedTuple

from rwkv_music.tokenizer.events import EventType
from rwkv_music.tokenizer.vocabulary import TokenType, Vocabulary


class EventKey(NamedTuple):
    """What the events of one moment are sorted by; the next must not come before the last one."""

    type: int
    part: int = -1
    pitch: int = -1
    level: int = -1
    duration: int = -1


class GrammarState:
    """State of a `Grammar`; it begins before BOS.

    Times are in grid steps. Every field is immutable, so that a shallow copy is independent.

    Args:
        vocabulary: Of the tokens.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._last: TokenType | None = None
        self._tempo = (0, 0)
        self._old_tempo = (-1, -1)
        self._signature = (0, 0)
        self._new_numerator = 0
        self._programs: tuple[int, ...] = ()
        self._part: int | None = None
        self._bars = 0
        self._bar_start = 0
        self._bar_length = 0
        self._bar_is_empty = True
        self._was_cut = False
        self._beat = 0
        self._subbeat = 0
        self._is_pending = False
        self._key: EventKey | None = None
        self._note = EventKey(EventType.NOTE)
        self._pedals: frozenset[int] = frozenset()
        self._used: frozenset[int] = frozenset()
        self._has_note = False
        self._sound_end = 0
        self._last_tempo_time = -1

    @property
    def bars(self) -> int:
        """Number of BAR tokens so far."""
        return self._bars

    @property
    def bar_start(self) -> int:
        """Grid step at which the current bar begins."""
        return self._bar_start

    @property
    def bar_end(self) -> int:
        """Grid step at which the current bar ends unless it is cut; 0 before the first bar."""
        return self._bar_start + self._bar_length if self._bars else 0

    @property
    def finished(self) -> bool:
        """Whether the last token was EOS."""
        return self._last is TokenType.EOS

    @property
    def time(self) -> int:
        """Grid step of the current position."""
        return self._bar_start + self._position()

    @property
    def part(self) -> int | None:
        """The current part; None before the first PART of the music."""
        return self._part

    @property
    def programs(self) -> tuple[int, ...]:
        """Program of each declared part."""
        return self._programs

    @property
    def signature(self) -> tuple[int, int]:
        """Numerator and denominator of the time signature."""
        return self._signature

    @property
    def was_cut(self) -> bool:
        """Whether the previous bar ended before its time signature says so."""
        return self._was_cut

    @property
    def pitch(self) -> int:
        """Pitch of the newest note; -1 before the first one."""
        return self._note.pitch

    @property
    def level(self) -> int:
        """Velocity level of the newest note; -1 before its VEL."""
        return self._note.level

    @property
    def last_type(self) -> TokenType | None:
        """Type of the last token; None before BOS."""
        return self._last

    @property
    def is_in_bar(self) -> bool:
        """Whether a bar has begun that is not the end of the stream."""
        return self._bars > 0 and not self.finished

    def numbers(self) -> dict[str, int | tuple[int, ...]]:
        """Return the state inside a bar by the names of `GrammarState` in grammar.h."""
        none = EventKey(-1)
        return {
            "last": -1 if self._last is None else self._last,
            "tempo": self._tempo[0],
            "fraction": self._tempo[1],
            "old_tempo": self._old_tempo[0],
            "old_fraction": self._old_tempo[1],
            "numerator": self._signature[0],
            "denominator": self._signature[1],
            "new_numerator": self._new_numerator,
            "num_programs": len(self._programs),
            "part": -1 if self._part is None else self._part,
            "bars": self._bars,
            "bar_start": self._bar_start,
            "bar_length": self._bar_length,
            "bar_is_empty": self._bar_is_empty,
            "was_cut": self._was_cut,
            "beat": self._beat,
            "subbeat": self._subbeat,
            "is_pending": self._is_pending,
            "pedals": part_bits(self._pedals),
            "used": part_bits(self._used),
            "has_note": self._has_note,
            "sound_end": self._sound_end,
            "last_tempo_time": self._last_tempo_time,
            "key": tuple(self._key or none),
            "note": tuple(self._note),
            "programs": self._programs,
        }

    def _position(self) -> int:
        return self._beat * self.vocabulary.steps_per_quarter + self._subbeat


def part_bits(parts: Iterable[int]) -> int:
    """Return a set of parts as bits of a number."""
    return sum(1 << part for part in parts)
