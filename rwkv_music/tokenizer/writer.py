"""Event table -> token ids, in the native library where it runs, else vectorised over events."""

import numpy as np
from jaxtyping import UInt16

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.events import (
    FIRST_MASK,
    PART_MASK,
    PART_SHIFT,
    PITCH_SHIFT,
    TIME_SHIFT,
    TOKEN_BITS,
    TOKEN_MASK,
    TYPE_SHIFT,
    EventTable,
    EventType,
    Header,
    Keys,
)
from rwkv_music.tokenizer.native import native_loops
from rwkv_music.tokenizer.tables import EncodingTables, encoding_tables
from rwkv_music.tokenizer.vocabulary import (
    DENOMINATORS,
    SLOWEST_TEMPO,
    TEMPO_FRACTIONS,
    Vocabulary,
)

Tokens = UInt16[np.ndarray, " tokens"]
_BAR = int(EventType.BAR) << (TYPE_SHIFT - PITCH_SHIFT)
_FIRST_PEDAL = int(EventType.PEDAL_UP) << (TYPE_SHIFT - PITCH_SHIFT)


def write_events(table: EventTable, vocabulary: Vocabulary) -> Tokens:
    """Return the token ids of a sorted table, from BOS on.

    Raises:
        InputError: If an event lies outside its bar.
    """
    loops = native_loops()
    if (
        loops
        and (
            tokens := loops.write_events(table, header_tokens(table.header, vocabulary), vocabulary)
        )
        is not None
    ):
        return tokens
    return write_with_numpy(table, vocabulary)


def header_tokens(header: Header, vocabulary: Vocabulary) -> list[int]:
    """Return BOS, tempo, time signature and parts."""
    tokens = [
        vocabulary.BOS,
        *tempo_tokens(header.tempo, vocabulary),
        *signature_tokens(header.numerator, header.denominator, vocabulary),
    ]
    for part, program in enumerate(header.programs):
        tokens += (vocabulary.part[part], vocabulary.program[program])
    return tokens


def tempo_tokens(steps: int, vocabulary: Vocabulary) -> list[int]:
    """Return TEMPO, and TEMPO_FRACTION unless the fraction is 0.

    Args:
        steps: The tempo in 1/256 quarters per minute.
        vocabulary: Of the ids.
    """
    whole, fraction = divmod(steps, TEMPO_FRACTIONS)
    tokens = [vocabulary.tempo[whole - SLOWEST_TEMPO]]
    return [*tokens, vocabulary.tempo_fraction[fraction]] if fraction else tokens


def signature_tokens(numerator: int, denominator: int, vocabulary: Vocabulary) -> list[int]:
    """Return NUM and DEN."""
    return [
        vocabulary.numerator[numerator - 1],
        vocabulary.denominator[DENOMINATORS.index(denominator)],
    ]


def write_with_numpy(table: EventTable, vocabulary: Vocabulary) -> Tokens:
    """Return what `write_events` returns, without the native library.

    Each event gets a row of six: BEAT, SUBBEAT, PART and up to three tokens of its own. What stays
    0 (PAD, which no event writes) is left out at the end.
    """
    tables = encoding_tables(vocabulary)
    keys = table.keys
    header = header_tokens(table.header, vocabulary)
    flat = np.zeros(len(header) + 6 * len(keys) + 1, dtype=np.uint16)
    flat[: len(header)] = header
    flat[-1] = vocabulary.EOS if table.is_complete else vocabulary.PAD
    if len(keys):
        rows = flat[len(header) : -1].reshape(-1, 6)
        code = keys >> PITCH_SHIFT
        code &= FIRST_MASK
        _write_positions(rows, keys, (code == _BAR).nonzero()[0], tables)
        rows[:, 3] = tables.first.take(code)
        sounds = (code >= _FIRST_PEDAL).nonzero()[0]
        part = code.take(sounds) >> (PART_SHIFT - PITCH_SHIFT)
        part &= PART_MASK
        part_tokens = part + vocabulary.part.start
        part_tokens[1:] *= part[1:] != part[:-1]
        rows[sounds, 2] = part_tokens
        rows[:, 4] = (keys >> TOKEN_BITS) & TOKEN_MASK
        rows[:, 5] = keys & TOKEN_MASK
    tokens: Tokens = flat[flat != 0]
    return tokens


def _write_positions(
    rows: UInt16[np.ndarray, "events 6"], keys: Keys, bars: Keys, tables: EncodingTables
) -> None:
    """Write BEAT and SUBBEAT where they change; a bar begins with both at 0."""
    if not len(bars) or bars[0] > 0:
        raise InputError("the first event is not a bar: sort the events by their keys")
    num_events = np.empty(len(bars), dtype=np.int64)
    np.subtract(bars[1:], bars[:-1], out=num_events[:-1])
    num_events[-1] = len(keys) - bars[-1]
    times = keys >> TIME_SHIFT
    times -= times.take(bars).repeat(num_events)
    if times.min() < 0 or times.max() >= len(tables.beat):
        raise InputError(
            f"events lie {times.min()} to {times.max()} grid steps behind their bar lines, a bar "
            f"has at most {len(tables.beat)}: sort the events, and add the bars between them"
        )
    for column, table in enumerate((tables.beat, tables.subbeat)):
        token = table.take(times)
        rows[1:, column] = token[1:] * (token[1:] != token[:-1])
    rows[bars, :2] = 0
