"""The event table: what a token stream says, one row for each event.

`read_events` makes it from ids and `write_events` makes ids from it. Encoding builds the table from
a score, decoding turns it into one, and editing changes it in between.

An event is one 64-bit key, so that sorting the keys sorts the events as a stream has them:

    time 24 bits | type 3 | part 5 | pitch 7 | second token 12 | third token 12

The first token of an event follows from type, part and pitch. A tempo keeps its whole part in the
twelve bits of part and pitch. The second and third tokens are ids, 0 where there is none.
"""

from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int8, Int32, Int64, Integer, UInt8

from rwkv_music.tokenizer.vocabulary import TEMPO_FRACTIONS

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
Numbers = Integer[np.ndarray, " _"]


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


# Plain numbers: comparing an array with a member of an enumeration is slow.
_TEMPO, _PEDAL_UP = int(EventType.TEMPO), int(EventType.PEDAL_UP)


class Header(NamedTuple):
    """What holds at the first bar of a stream."""

    tempo: int
    """In 1/256 quarters per minute."""
    numerator: int
    denominator: int
    programs: tuple[int, ...]
    """One for each part; 128 for drums."""


class EventValues(NamedTuple):
    """The values of events, one column each; integers of any size."""

    times: Numbers
    """Grid steps from the beginning of the stream."""
    types: Numbers
    """An `EventType` for each event."""
    parts: Numbers
    """Index of the part of notes and pedals; any number for others."""
    pitches: Numbers
    """MIDI pitch of notes, index of the TEMPO token of tempos; 0 for others."""
    second_tokens: Numbers
    """VEL, NUM or TEMPO_FRACTION; 0 where there is none."""
    third_tokens: Numbers
    """DUR or DEN; 0 where there is none."""


class EventTable:
    """The events of a piece or window; not to be changed once it is made.

    A table that comes from a score, or from a canonical stream, is sorted.

    Args:
        header: What holds at the first bar.
        keys: One for each event.
        is_complete: Whether the stream ends with EOS; a window from the middle of a piece does not.
        tokens: Index of each event's first own token, behind BEAT, SUBBEAT and PART, in the ids
            that it was read from. None for the table of a score.
    """

    def __init__(
        self,
        header: Header,
        keys: Keys,
        *,
        is_complete: bool = True,
        tokens: Numbers | None = None,
    ) -> None:
        self.header = header
        self.is_complete = is_complete
        self.tokens = tokens
        self.keys = keys

    @classmethod
    def of_values(
        cls, header: Header, values: EventValues, *, is_complete: bool, tokens: Numbers
    ) -> "EventTable":
        """Return the table of events whose values are known; keys are made when asked for."""
        table = cls.__new__(cls)
        table.header, table.is_complete, table.tokens = header, is_complete, tokens
        table.values = values
        return table

    def __len__(self) -> int:
        return len(self.values.times if "keys" not in self.__dict__ else self.keys)

    @cached_property
    def keys(self) -> Keys:
        """The events as sortable numbers."""
        values = self.values
        keys = values.times.astype(np.int64) << TIME_SHIFT
        keys |= values.types.astype(np.int64) << TYPE_SHIFT
        parts = values.parts * (values.types >= _PEDAL_UP)
        keys |= parts.astype(np.int64) << PART_SHIFT
        keys |= values.pitches.astype(np.int64) << PITCH_SHIFT
        keys |= values.second_tokens.astype(np.int64) << TOKEN_BITS
        keys |= values.third_tokens
        return keys

    @cached_property
    def values(self) -> EventValues:
        """The events in columns."""
        keys = self.keys
        types = (keys >> TYPE_SHIFT) & TYPE_MASK
        is_tempo = types == _TEMPO
        return EventValues(
            times=keys >> TIME_SHIFT,
            types=types,
            parts=(keys >> PART_SHIFT) & PART_MASK,
            pitches=(keys >> PITCH_SHIFT) & np.where(is_tempo, TEMPO_MASK, PITCH_MASK),
            second_tokens=(keys >> TOKEN_BITS) & TOKEN_MASK,
            third_tokens=keys & TOKEN_MASK,
        )

    def select(self, chosen: Bool[np.ndarray, " events"]) -> "EventTable":
        """Return the table of some of the events."""
        tokens = None if self.tokens is None else self.tokens[chosen]
        keys = self.keys[chosen]
        return EventTable(self.header, keys, is_complete=self.is_complete, tokens=tokens)


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


def event_key(event_type: int, *, time: int = 0, part: int = 0) -> int:
    """Return the key of an event without pitch and tokens."""
    return (time << TIME_SHIFT) | (event_type << TYPE_SHIFT) | (part << PART_SHIFT)
