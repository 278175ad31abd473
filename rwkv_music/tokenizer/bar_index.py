"""What holds at every bar line of a piece, found for all bars at once.

A row of 24 bytes a bar is all that a window needs to begin there; a token store keeps the rows of
its pieces, so that no piece is read twice.
"""

import numpy as np
from jaxtyping import Bool, Int, Int64, Integer, Shaped, UInt16

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.events import EventTable, EventType
from rwkv_music.tokenizer.reader import read_events
from rwkv_music.tokenizer.vocabulary import Vocabulary
from rwkv_music.tokenizer.writer import signature_tokens, tempo_tokens

Ids = UInt16[np.ndarray, " _"]
# Plain numbers: comparing an array with a member of an enumeration is slow.
_BAR = int(EventType.BAR)
_TEMPO = int(EventType.TEMPO)
_PEDAL_UP = int(EventType.PEDAL_UP)
_PEDAL_DOWN = int(EventType.PEDAL_DOWN)
_NOTE = int(EventType.NOTE)
Indices = Int[np.ndarray, " _"]

BAR_ROW = np.dtype([
    ("bar", "<u4"),  # index of the BAR token
    ("first_sound", "<u4"),  # index of the first note or pedal switch from the bar's own tokens on
    ("pedals", "<u4"),  # bit p is set if the pedal of part p is down
    ("tempo", "<u2"), ("tempo_fraction", "<u2"),  # current ids; fraction 0 (PAD) if there is none
    ("numerator", "<u2"), ("denominator", "<u2"),
    ("skipped", "u1"),  # tokens behind BAR that the header and the pedals of a window state
    ("part", "u1"),  # the part of the first sound
    ("states_part", "u1"),  # whether a PART stands directly before it
    ("spare", "u1"),
])  # fmt: skip
"""One bar line; indices count from the beginning of the piece."""

BarRows = Shaped[np.ndarray, " bars"]


def index_bars(ids: Ids, vocabulary: Vocabulary) -> BarRows:
    """Return a `BAR_ROW` for each bar.

    Args:
        ids: A whole piece as `Tokenizer.encode` returns it.
        vocabulary: Of the tokenizer that made it.

    Raises:
        InputError: If the ids do not begin with a header.
    """
    table = read_events(ids, vocabulary)
    if table is None or not table.header.programs or _BAR not in table.values.types:
        raise InputError("the ids are not a piece: they need BOS, a header and a bar")
    assert table.tokens is not None  # they were read
    return _rows(table, table.tokens, len(ids), vocabulary)


def _rows(table: EventTable, tokens: Indices, num_tokens: int, vocabulary: Vocabulary) -> BarRows:
    types, times = table.values.types, table.values.times
    bars = (types == _BAR).nonzero()[0]
    first = _first_behind_state(types, times, bars)
    rows = np.zeros(len(bars), dtype=BAR_ROW)
    rows["bar"] = tokens[bars]
    rows["skipped"] = _end_of_event(table, tokens, first - 1) - tokens[bars] - 1
    _add_tempos(rows, table, first, vocabulary)
    _add_signatures(rows, table, bars, vocabulary)
    sounds = (types >= _PEDAL_UP).nonzero()[0]
    if (types[sounds] < _NOTE).any():
        rows["pedals"] = _pedals_down(table, first)
    next_sound = sounds.searchsorted(first)
    rows["first_sound"] = np.append(tokens[sounds], num_tokens)[next_sound]
    parts = table.values.parts[sounds]
    rows["part"] = np.append(parts, parts[-1:] if len(parts) else 0)[next_sound]
    states = np.append(np.append(True, parts[1:] != parts[:-1]), False)
    rows["states_part"] = states[next_sound]
    return rows


def _first_behind_state(
    types: Integer[np.ndarray, " events"], times: Integer[np.ndarray, " events"], bars: Indices
) -> Indices:
    """For each bar the first event behind the tempo and pedals at its beginning.

    It may be the index behind the last event.
    """
    bar_times = times[bars].repeat(np.diff(bars, append=len(types)))
    states = (types >= _TEMPO) & (types <= _PEDAL_DOWN)
    states &= times == np.concatenate([times[: bars[0]] - 1, bar_times])
    others = np.append((~states).nonzero()[0], len(types))
    first: Indices = others[others.searchsorted(bars, side="right")]
    return first


def _end_of_event(table: EventTable, tokens: Indices, events: Indices) -> Indices:
    """Index behind the last token of bars, tempos and pedal switches."""
    has_two_more = (table.values.third_tokens[events] != 0) & (table.values.types[events] == _BAR)
    has_one_more = (table.values.second_tokens[events] != 0) & (
        table.values.types[events] == _TEMPO
    )
    ends: Indices = tokens[events] + 1 + 2 * has_two_more + has_one_more
    return ends


def _add_tempos(rows: BarRows, table: EventTable, first: Indices, vocabulary: Vocabulary) -> None:
    """Add the ids of the tempo that holds at each bar."""
    changes = (table.values.types == _TEMPO).nonzero()[0]
    tempo, *fraction = tempo_tokens(table.header.tempo, vocabulary)
    current = changes.searchsorted(first)
    tempos = vocabulary.tempo.start + table.values.pitches[changes]
    rows["tempo"] = np.append(tempo, tempos)[current]
    fractions = table.values.second_tokens[changes]
    rows["tempo_fraction"] = np.append(fraction or [vocabulary.PAD], fractions)[current]


def _add_signatures(
    rows: BarRows, table: EventTable, bars: Indices, vocabulary: Vocabulary
) -> None:
    """Add the ids of each bar's time signature."""
    header = table.header
    num, den = signature_tokens(header.numerator, header.denominator, vocabulary)
    nums, dens = table.values.second_tokens[bars], table.values.third_tokens[bars]
    states: Bool[np.ndarray, " bars"] = nums != 0
    current = states.cumsum()
    rows["numerator"] = np.append(num, nums[states])[current]
    rows["denominator"] = np.append(den, dens[states])[current]


def _pedals_down(table: EventTable, first: Indices) -> Int64[np.ndarray, " bars"]:
    """For each bar, the parts whose last switch before `first` is down, as bits."""
    types, parts = table.values.types, table.values.parts
    switches = ((types == _PEDAL_UP) | (types == _PEDAL_DOWN)).nonzero()[0]
    down = np.zeros(len(first), dtype=np.int64)
    of_part = parts[switches]
    for part in np.unique(of_part).tolist():
        own = switches[of_part == part]
        states = np.append(types[own] == _PEDAL_DOWN, False)  # the last for "none before"
        down |= states[np.searchsorted(own, first) - 1].astype(np.int64) << part
    return down
