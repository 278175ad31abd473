"""The event table: what a token stream says, one row for each event.

`read_events` makes it from ids and `write_events` makes ids from it. Encoding builds the table from
a score, decoding turns it into one, and editing changes it in between.

An event is one 64-bit key, so that sorting the keys sorts the events as a stream has them:

    time 24 bits | type 3 | part 5 | pitch 7 | second token 12 | third token 12

The first token of an event follows from type, part and pitch. A tempo keeps its whole part in the
twelve bits of part and pitch. The second and third tokens are ids, 0 where there is none.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int8, Int32, Int64, Integer, UInt8

from rwkv_music.tokenizer.vocabulary import DRUM_PROGRAM, TEMPO_FRACTIONS

TOKEN_BITS = 12
PITCH_SHIFT = 2 * TOKEN_BITS
PART_SHIFT = PITCH_SHIFT + 7
TYPE_SHIFT = PART_SHIFT + 5
TIME_SHIFT = TYPE_SHIFT + 3
TOKEN_MASK = (1 << TOKEN_BITS) - 1
PITCH_MASK = (1 << (PART_SHIFT - PITCH_SHIFT)) - 1
PART_MASK = (1 << (TYPE_SHIFT - PART_SHIFT)) - 1
TYPE_MASK = (1 << (TIME_SHIFT - TYPE_SHIFT)) - 1
TEMPO_MASK = (1 << (TYPE_SHIFT - PITCH_SHIFT)) - 1
FIRST_MASK = (1 << (TIME_SHIFT - PITCH_SHIFT)) - 1
LAST_TIME = (1 << (63 - TIME_SHIFT)) - 1
"""The last grid step that an event can have."""
DEFAULT_TEMPO = 120 * TEMPO_FRACTIONS

Keys = Int64[np.ndarray, " _"]


class EventType(IntEnum):
    """Types of event, in the order in which they stand at one moment."""

    CUT = 0
    """The bar ends here, before its time signature says so."""
    BAR = 1
    """Values: the tokens NUM and DEN where the time signature changes."""
    TEMPO = 2
    """Values: whole quarters per minute from the slowest on, and the token TEMPO_FRACTION."""
    PEDAL_UP = 3
    PEDAL_DOWN = 4
    NOTE = 5
    """Values: pitch, and the tokens VEL and DUR."""
    DRUM = 6
    """The same of a drum part. Drum parts come last, so that notes are sorted by part."""


class Header(NamedTuple):
    """What holds at the first bar of a stream."""

    tempo: int
    """In 1/256 quarters per minute."""
    numerator: int
    denominator: int
    programs: tuple[int, ...]
    """One for each part; 128 for drums."""


@dataclass(frozen=True)
class EventTable:
    """The events of a piece or window.

    A table that comes from a score, or from a canonical stream, is sorted.
    """

    header: Header
    keys: Keys
    is_complete: bool = True
    """Whether the stream ends with EOS; a window from the middle of a piece does not."""
    tokens: Integer[np.ndarray, " events"] | None = None
    """Index of each event's first own token, behind BEAT, SUBBEAT and PART, in the ids that it was
    read from. None for the table of a score."""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def times(self) -> Int64[np.ndarray, " events"]:
        """Grid steps from the beginning of the stream."""
        return self.keys >> TIME_SHIFT

    @property
    def types(self) -> Int64[np.ndarray, " events"]:
        """An `EventType` for each event."""
        return (self.keys >> TYPE_SHIFT) & TYPE_MASK

    @property
    def parts(self) -> Int64[np.ndarray, " events"]:
        """Index of the part; only notes and pedals have one."""
        return (self.keys >> PART_SHIFT) & PART_MASK

    @property
    def pitches(self) -> Int64[np.ndarray, " events"]:
        """MIDI pitch; only notes have one."""
        return (self.keys >> PITCH_SHIFT) & PITCH_MASK

    @property
    def second_tokens(self) -> Int64[np.ndarray, " events"]:
        """VEL, NUM or TEMPO_FRACTION; 0 where there is none."""
        return (self.keys >> TOKEN_BITS) & TOKEN_MASK

    @property
    def third_tokens(self) -> Int64[np.ndarray, " events"]:
        """DUR or DEN; 0 where there is none."""
        return self.keys & TOKEN_MASK

    @property
    def tempos(self) -> Int64[np.ndarray, " events"]:
        """Index of the TEMPO token; only tempos have one."""
        return (self.keys >> PITCH_SHIFT) & TEMPO_MASK

    def select(self, chosen: Bool[np.ndarray, " events"]) -> "EventTable":
        """Return the table of some of the events."""
        tokens = None if self.tokens is None else self.tokens[chosen]
        return replace(self, keys=self.keys[chosen], tokens=tokens)


class EventColumns(NamedTuple):
    """The events of a table sorted by part, as the columns that a score is made of."""

    note_time: Int32[np.ndarray, " _"]
    note_duration: Int32[np.ndarray, " _"]
    note_pitch: Int8[np.ndarray, " _"]
    note_velocity: Int8[np.ndarray, " _"]
    pedal_time: Int32[np.ndarray, " _"]
    pedal_value: UInt8[np.ndarray, " _"]
    note_ends: Int64[np.ndarray, " ends"]
    """Index at which the notes of each part begin, and at which those of the last one end."""
    pedal_ends: Int64[np.ndarray, " ends"]
    """The same for the switches of the pedal."""
    tempo_time: Int32[np.ndarray, " tempos"]
    tempo_steps: Int64[np.ndarray, " tempos"]
    """In 1/256 quarters per minute."""
    signature_time: Int32[np.ndarray, " signatures"]
    numerator: UInt8[np.ndarray, " signatures"]
    denominator: UInt8[np.ndarray, " signatures"]


def note_type(program: int) -> EventType:
    """Return the type that the notes of a part with this program have."""
    return EventType.DRUM if program == DRUM_PROGRAM else EventType.NOTE
