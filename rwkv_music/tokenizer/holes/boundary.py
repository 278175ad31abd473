"""What holds at the end of a window: tempo, time signature, pedals."""

from typing import NamedTuple

import numpy as np

from rwkv_music.tokenizer.events import TOKEN_BITS, TOKEN_MASK, EventTable, EventType, Header
from rwkv_music.tokenizer.vocabulary import (
    DENOMINATORS,
    SLOWEST_TEMPO,
    TEMPO_FRACTIONS,
    Vocabulary,
)
from rwkv_music.tokenizer.writer import signature_tokens, tempo_tokens

_BAR, _TEMPO = int(EventType.BAR), int(EventType.TEMPO)
_PEDAL_UP, _PEDAL_DOWN = int(EventType.PEDAL_UP), int(EventType.PEDAL_DOWN)


class Boundary(NamedTuple):
    """What holds between two bars."""

    tempo: int
    """In 1/256 quarters per minute."""
    numerator: int
    denominator: int
    pedals: frozenset[int]
    """Parts whose pedal is down."""

    @classmethod
    def before(cls, header: Header) -> "Boundary":
        """Return what holds where a stream begins."""
        return cls(header.tempo, header.numerator, header.denominator, frozenset())

    @classmethod
    def behind(
        cls, table: EventTable, vocabulary: Vocabulary, *, pedals: frozenset[int] = frozenset()
    ) -> "Boundary":
        """Return what holds where a window ends.

        Args:
            table: Its events.
            vocabulary: Of its ids.
            pedals: Parts whose pedal is down where it begins.
        """
        types, values = table.values.types, table.values
        tempo, numerator, denominator = table.header[:3]
        tempos = np.flatnonzero(types == _TEMPO)
        if len(tempos):
            last = tempos[-1]
            fraction = max(int(values.second_tokens[last]) - vocabulary.tempo_fraction.start, 0)
            tempo = (SLOWEST_TEMPO + int(values.pitches[last])) * TEMPO_FRACTIONS + fraction
        stated = np.flatnonzero((types == _BAR) & (values.third_tokens > 0))
        if len(stated):
            numerator, denominator = signature_of(int(table.keys[stated[-1]]), vocabulary)
        return cls(tempo, numerator, denominator, _pedals_down(table, pedals))

    def changes_to(self, header: Header, vocabulary: Vocabulary) -> tuple[list[int], list[int]]:
        """Return the tokens that state a header's signature and its tempo where they differ."""
        signature, tempo = [], []
        if (header.numerator, header.denominator) != (self.numerator, self.denominator):
            signature = signature_tokens(header.numerator, header.denominator, vocabulary)
        if header.tempo != self.tempo:
            tempo = tempo_tokens(header.tempo, vocabulary)
        return signature, tempo


def signature_of(key: int, vocabulary: Vocabulary) -> tuple[int, int]:
    """Return the signature that the key of a bar states."""
    numerator = (key >> TOKEN_BITS & TOKEN_MASK) - vocabulary.numerator.start + 1
    return numerator, DENOMINATORS[(key & TOKEN_MASK) - vocabulary.denominator.start]


def _pedals_down(table: EventTable, pedals: frozenset[int]) -> frozenset[int]:
    down = set(pedals)
    switches = np.flatnonzero(
        (table.values.types == _PEDAL_UP) | (table.values.types == _PEDAL_DOWN)
    )
    for row in switches.tolist():
        part = int(table.values.parts[row])
        if table.values.types[row] == _PEDAL_DOWN:
            down.add(part)
        else:
            down.discard(part)
    return frozenset(down)
