"""Token ids -> event table, in the native library where it runs, else vectorised over tokens."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Int64, Integer, UInt8

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.events import (
    DEFAULT_TEMPO,
    LAST_TIME,
    EventTable,
    EventValues,
    Header,
)
from rwkv_music.tokenizer.native import native_loops
from rwkv_music.tokenizer.tables import DecodingTables, decoding_tables
from rwkv_music.tokenizer.tokenizer_settings import MAX_PARTS
from rwkv_music.tokenizer.vocabulary import (
    SLOWEST_TEMPO,
    TEMPO_FRACTIONS,
    TokenType,
    Vocabulary,
)

Ids = Integer[np.ndarray, " _"]
Types = UInt8[np.ndarray, " tokens"]
_NOT_A_STREAM = "the ids are not a token stream: give a whole piece or window, from BOS on"
# Plain numbers: comparing an array with a member of an enumeration is slow.
_EOS, _BAR, _NUM = int(TokenType.EOS), int(TokenType.BAR), int(TokenType.NUM)
_BEAT, _SUBBEAT = int(TokenType.BEAT), int(TokenType.SUBBEAT)
_PITCH, _DRUM, _VEL = int(TokenType.PITCH), int(TokenType.DRUM), int(TokenType.VEL)
_PART, _PROG = int(TokenType.PART), int(TokenType.PROG)
_TEMPO_FRACTION = int(TokenType.TEMPO_FRACTION)


def read_events(ids: Ids, vocabulary: Vocabulary) -> EventTable | None:
    """Return the events of a piece or window.

    Args:
        ids: Any integers.
        vocabulary: Of the tokenizer that made them.

    Returns:
        The table; None if the ids do not begin with BOS, if the type of one may not follow the
        type before it, or if an event comes after `LAST_TIME`.
    """
    loops = native_loops()
    return loops.read_events(ids, vocabulary) if loops else read_with_numpy(ids, vocabulary)


def read_whole(ids: Ids, vocabulary: Vocabulary) -> EventTable:
    """Return the events of a piece or window.

    Raises:
        InputError: If the ids are neither.
    """
    table = read_events(ids, vocabulary)
    if table is None:
        raise InputError(_NOT_A_STREAM)
    return table


def token_times(ids: Ids, vocabulary: Vocabulary) -> Int64[np.ndarray, " tokens"]:
    """Return the time of each token; see `Tokenizer.token_times`.

    Raises:
        InputError: If the ids are not a stream.
    """
    stream = _Stream.of(ids, vocabulary)
    if stream is None:
        raise InputError(_NOT_A_STREAM)
    return _Bars.of(stream, vocabulary.steps_per_quarter).times.astype(np.int64)


def read_with_numpy(ids: Ids, vocabulary: Vocabulary) -> EventTable | None:
    """Return what `read_events` returns, without the native library."""
    stream = _Stream.of(ids, vocabulary)
    if stream is None:
        return None
    tokens, types, tables = stream
    bars = _Bars.of(stream, vocabulary.steps_per_quarter)
    opens = tables.opens.take(tokens)
    opens[bars.cuts] = True
    opens[1:2] = False  # the header's tempo is no event
    if types[-1] == _VEL:
        opens[-2] = False  # a note without its end
    opens[-1:] &= (types[-1] != _PITCH) & (types[-1] != _DRUM)
    events = opens.nonzero()[0]
    times = bars.times.take(events)
    if times.max(initial=0) > LAST_TIME:
        return None
    opening = tokens.take(events)
    # No mask is needed: VEL and TEMPO_FRACTION follow nothing else, and DUR follows only VEL.
    seconds = tables.second_tokens.take(tokens.take(events + 1, mode="clip"))
    thirds = tables.third_tokens.take(tokens.take(events + 2, mode="clip"))
    if len(bars.tokens) and bars.numerators[-1:].max(initial=0) > bars.tokens[0]:
        _state_signatures(seconds, thirds, opening == vocabulary.BAR, tokens, bars)
    values = EventValues(
        times,
        tables.event_types.take(opening),
        _current_parts(stream).take(events),
        tables.pitches.take(opening),
        seconds,
        thirds,
    )
    is_complete = bool(types[-1] == _EOS)
    header = _header(stream, bars)
    return EventTable.of_values(header, values, is_complete=is_complete, tokens=events)


class _Stream(NamedTuple):
    """Tokens each of which may follow the one before, as indices of tables, and their types."""

    tokens: Ids
    types: Types
    tables: DecodingTables

    @classmethod
    def of(cls, ids: Ids, vocabulary: Vocabulary) -> "_Stream | None":
        """Return the stream; None if the type of an id may not follow the one before it."""
        if not len(ids) or ids[0] != vocabulary.BOS or ids.max() >= vocabulary.size:
            return None
        if ids.dtype.kind != "u" and ids.min() < 0:
            return None
        tokens = ids.astype(np.intp)
        tables = decoding_tables(vocabulary)
        allowed = tables.follower_bits.take(tokens)[:-1]
        allowed &= tables.type_bits.take(tokens)[1:]
        return cls(tokens, tables.types.take(tokens), tables) if allowed.all() else None


class _Bars(NamedTuple):
    """The bars of a stream, and the time at each of its tokens."""

    tokens: Ids
    """Index of each BAR."""
    cuts: Ids
    """Index of each position token that says where a bar is cut, directly before the next BAR."""
    numerators: Ids
    """Index of each NUM that a DEN follows."""
    times: Int32[np.ndarray, " tokens"]
    """The current time at every token; 0 in the header."""

    @classmethod
    def of(cls, stream: _Stream, steps_per_quarter: int) -> "_Bars":
        """Find them."""
        tokens, types, tables = stream
        moves = tables.moves.take(tokens).nonzero()[0]
        moved = types.take(moves)
        set_to = tables.values.take(tokens.take(moves))
        is_bar = moved == _BAR
        # A BAR sets both to its own value, 0.
        position = _last_value(set_to, moved != _SUBBEAT)
        position += _last_value(set_to, moved != _BEAT)
        bar_moves = is_bar.nonzero()[0]
        bars = moves.take(bar_moves)
        numerators = (types[:-1] == _NUM).nonzero()[0]
        lengths = _bar_lengths(stream, bars, numerators, steps_per_quarter)
        before = types.take(bars - 1)
        is_cut = (before == _BEAT) | (before == _SUBBEAT)
        # A position directly before a BAR says where the bar before it is cut.
        shortened = is_cut[1:].nonzero()[0]
        lengths[shortened] = position[bar_moves[shortened + 1] - 1]
        starts = lengths.cumsum() - lengths
        if len(bars):
            position[bar_moves[0] :] += starts.repeat(_gaps(bar_moves, len(moves)))
        cuts = bars[is_cut] - 1
        if types[-1] in (_BEAT, _SUBBEAT):
            cuts = np.append(cuts, len(types) - 1)
        times = np.zeros(len(types), dtype=np.int32)
        if len(moves):
            times[moves[0] :] = position.astype(np.int32).repeat(_gaps(moves, len(types)))
        return cls(bars, cuts, numerators, times)


def _bar_lengths(
    stream: _Stream, bars: Ids, numerators: Ids, steps_per_quarter: int
) -> Int64[np.ndarray, " bars"]:
    """Length of every bar by its signature, in grid steps."""
    if not len(numerators):
        return np.full(len(bars), 4 * steps_per_quarter)
    values, tokens = stream.tables.values, stream.tokens
    lengths = 4 * steps_per_quarter * values.take(tokens.take(numerators))
    lengths //= values.take(tokens.take(numerators + 1))
    if len(numerators) == 1:
        return lengths.repeat(len(bars))
    return lengths.take(_latest_signatures(bars, numerators), mode="clip")


def _latest_signatures(bars: Ids, numerators: Ids) -> Ids:
    """For each bar the index of its signature, which stands directly behind BAR or before."""
    latest: Ids = numerators.searchsorted(bars + 1, side="right") - 1
    return latest


def _state_signatures(
    seconds: Ids, thirds: Ids, is_bar: Bool[np.ndarray, " events"], tokens: Ids, bars: _Bars
) -> None:
    """Set the second and third token of each bar that changes the signature to NUM and DEN."""
    latest = _latest_signatures(bars.tokens, bars.numerators)
    changes = (latest[1:] != latest[:-1]).nonzero()[0] + 1
    at = bars.numerators.take(latest.take(changes))
    rows = is_bar.nonzero()[0].take(changes)
    seconds[rows] = tokens.take(at)
    thirds[rows] = tokens.take(at + 1)


def _header(stream: _Stream, bars: _Bars) -> Header:
    tokens, types, tables = stream
    values = tables.values
    tempo = DEFAULT_TEMPO
    if len(tokens) > 1:
        tempo = int(values[tokens[1]] + SLOWEST_TEMPO) * TEMPO_FRACTIONS
        if len(tokens) > 2 and types[2] == _TEMPO_FRACTION:
            tempo += int(values[tokens[2]])
    signature = (4, 4)
    if len(bars.tokens) and len(bars.numerators):
        latest = max(int(_latest_signatures(bars.tokens[:1], bars.numerators)[0]), 0)
        at = bars.numerators[latest]
        signature = (int(values[tokens[at]]), int(values[tokens[at + 1]]))
    end = bars.tokens[0] if len(bars.tokens) else len(tokens)
    programs = tokens[:end][types[:end] == _PROG][:MAX_PARTS]
    return Header(tempo, *signature, tuple(values.take(programs).tolist()))


def _current_parts(stream: _Stream) -> UInt8[np.ndarray, " tokens"]:
    """The current part at each token; the first one where none was chosen yet."""
    chosen = (stream.types == _PART).nonzero()[0]
    if not len(chosen):
        return np.zeros(len(stream.types), dtype=np.uint8)
    gaps = _gaps(chosen, len(stream.types))
    gaps[0] += chosen[0]
    parts = stream.tables.values.take(stream.tokens.take(chosen)).astype(np.uint8)
    current: UInt8[np.ndarray, " tokens"] = parts.repeat(gaps)
    return current


def _last_value(set_to: Ids, is_set: Bool[np.ndarray, " moves"]) -> Ids:
    """At each move the value that was set last; 0 before the first one."""
    sets = is_set.nonzero()[0]
    if not len(sets):
        return np.zeros(len(is_set), dtype=np.int64)
    filled = set_to.take(sets).repeat(_gaps(sets, len(is_set)))
    return np.concatenate([np.zeros(sets[0], dtype=np.int64), filled]) if sets[0] else filled


def _gaps(indices: Ids, length: int) -> Ids:
    """Distance from each index to the next, and from the last one to the end."""
    gaps: Ids = np.empty(len(indices), dtype=np.intp)
    np.subtract(indices[1:], indices[:-1], out=gaps[:-1])
    gaps[-1:] = length - indices[-1:]
    return gaps
