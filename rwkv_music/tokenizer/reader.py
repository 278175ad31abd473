"""Token ids -> event table, in the native library where it runs, else vectorised over tokens."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Integer, UInt8

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.events import (
    DEFAULT_TEMPO,
    LAST_TIME,
    PART_SHIFT,
    TIME_SHIFT,
    EventTable,
    Header,
)
from rwkv_music.tokenizer.native import native_loops
from rwkv_music.tokenizer.tables import DecodingTables, decoding_tables
from rwkv_music.tokenizer.vocabulary import (
    MAX_PARTS,
    SLOWEST_TEMPO,
    TEMPO_FRACTIONS,
    TokenType,
    Vocabulary,
)

Ids = Integer[np.ndarray, " _"]
Types = UInt8[np.ndarray, " tokens"]
_NOT_A_STREAM = "the ids are not a token stream: give a whole piece or window, from BOS on"
# Plain numbers: comparing an array with a member of an enumeration is slow.
_BAR, _BEAT, _SUBBEAT = int(TokenType.BAR), int(TokenType.BEAT), int(TokenType.SUBBEAT)
_PITCH, _DRUM, _NUM = int(TokenType.PITCH), int(TokenType.DRUM), int(TokenType.NUM)
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
    skeleton = _Skeleton.of(ids, vocabulary)
    if skeleton is None:
        raise InputError(_NOT_A_STREAM)
    times = _Bars.of(skeleton, vocabulary.steps_per_quarter).times
    return times.astype(np.int64).repeat(_gaps(skeleton.indices, len(ids)))


def read_with_numpy(ids: Ids, vocabulary: Vocabulary) -> EventTable | None:
    """Return what `read_events` returns, without the native library."""
    skeleton = _Skeleton.of(ids, vocabulary)
    if skeleton is None:
        return None
    tokens, types, tables = skeleton.tokens, skeleton.types, skeleton.tables
    bars = _Bars.of(skeleton, vocabulary.steps_per_quarter)
    opens = tables.opens.take(tokens)
    opens[bars.cuts] = True
    opens[1:2] = False  # the header's tempo is no event
    opens[-1:] &= skeleton.is_whole
    events = opens.nonzero()[0]
    opening = tokens.take(events)
    keys = tables.bits.take(opening)
    keys |= skeleton.further_bits(events)
    times = bars.times.take(events)
    if times.max(initial=0) > LAST_TIME:
        return None
    keys |= times << TIME_SHIFT
    parts = _current_parts(skeleton).take(events)
    parts *= tables.has_part.take(opening)
    keys |= parts << PART_SHIFT
    if len(bars.bars) and bars.numerators[-1:].max(initial=0) > bars.bars[0]:
        _state_signatures(keys, opening == vocabulary.BAR, skeleton, bars)
    is_complete = bool(types[-1] == TokenType.EOS)
    return EventTable(_header(skeleton, bars), keys, is_complete, skeleton.indices.take(events))


class _Skeleton(NamedTuple):
    """The tokens of a stream without VEL and DUR, which always follow PITCH or DRUM."""

    indices: Ids
    """Index of each in the stream."""
    tokens: Ids
    types: Types
    stream: Ids
    """All tokens."""
    tables: DecodingTables

    @classmethod
    def of(cls, ids: Ids, vocabulary: Vocabulary) -> "_Skeleton | None":
        """Return the skeleton; None if the type of an id may not follow the one before it."""
        if not len(ids) or ids[0] != vocabulary.BOS or ids.max() >= vocabulary.size:
            return None
        if ids.dtype.kind != "u" and ids.min() < 0:
            return None
        stream = ids.astype(np.intp)
        tables = decoding_tables(vocabulary)
        allowed = tables.follower_bits.take(stream[:-1])
        allowed &= tables.type_bits.take(stream[1:])
        if not allowed.all():
            return None
        indices = tables.in_skeleton.take(stream).nonzero()[0]
        tokens = stream.take(indices)
        return cls(indices, tokens, tables.types.take(tokens), stream, tables)

    @property
    def is_whole(self) -> bool:
        """Whether the stream does not end within a note."""
        is_note = self.types[-1] in (_PITCH, _DRUM)
        return not is_note or int(self.indices[-1]) + 3 == len(self.stream)

    def further_bits(self, events: Ids) -> Int64[np.ndarray, " events"]:
        """What the tokens behind the first one add to the keys of notes and tempos.

        No mask is needed: VEL and TEMPO_FRACTION follow nothing else, and DUR follows only VEL.
        """
        at = self.indices.take(events)
        at += 1
        bits = self.tables.second_bits.take(self.stream.take(at, mode="clip"))
        at += 1
        bits |= self.tables.third_bits.take(self.stream.take(at, mode="clip"))
        return bits


class _Bars(NamedTuple):
    """The bars of a stream, and the time at each token of its skeleton."""

    bars: Ids
    """Index of each BAR in the skeleton."""
    cuts: Ids
    """Index of each position token that says where a bar is cut, directly before the next BAR."""
    numerators: Ids
    """Index of each NUM that a DEN follows."""
    times: Int64[np.ndarray, " skeleton"]
    """The current time at every token; 0 in the header."""

    @classmethod
    def of(cls, skeleton: _Skeleton, steps_per_quarter: int) -> "_Bars":
        """Find them."""
        types = skeleton.types
        moves = skeleton.tables.moves.take(skeleton.tokens).nonzero()[0]
        moved = types.take(moves)
        set_to = skeleton.tables.values.take(skeleton.tokens.take(moves))
        is_bar = moved == _BAR
        # A BAR sets both to its own value, 0.
        position = _last_value(set_to, (moved == _BEAT) | is_bar)
        position += _last_value(set_to, (moved == _SUBBEAT) | is_bar)
        bar_moves = is_bar.nonzero()[0]
        bars = moves.take(bar_moves)
        numerators = (types[:-1] == _NUM).nonzero()[0]
        lengths = _bar_lengths(skeleton, bars, numerators, steps_per_quarter)
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
        times = np.zeros(len(types), dtype=np.int64)
        if len(moves):
            times[moves[0] :] = position.repeat(_gaps(moves, len(types)))
        return cls(bars, cuts, numerators, times)


def _bar_lengths(
    skeleton: _Skeleton, bars: Ids, numerators: Ids, steps_per_quarter: int
) -> Int64[np.ndarray, " bars"]:
    """Length of every bar by its signature, in grid steps."""
    if not len(numerators):
        return np.full(len(bars), 4 * steps_per_quarter)
    values, tokens = skeleton.tables.values, skeleton.tokens
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
    keys: Int64[np.ndarray, " events"],
    is_bar: Bool[np.ndarray, " events"],
    skeleton: _Skeleton,
    bars: _Bars,
) -> None:
    """Add the signature to the key of each bar that changes it."""
    latest = _latest_signatures(bars.bars, bars.numerators)
    changes = (latest[1:] != latest[:-1]).nonzero()[0] + 1
    at = bars.numerators.take(latest.take(changes))
    bits, tokens = skeleton.tables.bits, skeleton.tokens
    stated = bits.take(tokens.take(at)) | bits.take(tokens.take(at + 1))
    keys[is_bar.nonzero()[0].take(changes)] |= stated


def _header(skeleton: _Skeleton, bars: _Bars) -> Header:
    types, tokens, values = skeleton.types, skeleton.tokens, skeleton.tables.values
    tempo = DEFAULT_TEMPO
    if len(tokens) > 1:
        tempo = int(values[tokens[1]] + SLOWEST_TEMPO) * TEMPO_FRACTIONS
        if len(tokens) > 2 and types[2] == _TEMPO_FRACTION:
            tempo += int(values[tokens[2]])
    signature = (4, 4)
    if len(bars.bars) and len(bars.numerators):
        latest = max(int(_latest_signatures(bars.bars[:1], bars.numerators)[0]), 0)
        at = bars.numerators[latest]
        signature = (int(values[tokens[at]]), int(values[tokens[at + 1]]))
    end = bars.bars[0] if len(bars.bars) else len(tokens)
    programs = tokens[:end][types[:end] == _PROG][:MAX_PARTS]
    return Header(tempo, *signature, tuple(values.take(programs).tolist()))


def _current_parts(skeleton: _Skeleton) -> Int64[np.ndarray, " skeleton"]:
    """The current part at each token; the first one where none was chosen yet."""
    chosen = (skeleton.types == _PART).nonzero()[0]
    if not len(chosen):
        return np.zeros(len(skeleton.types), dtype=np.int64)
    gaps = _gaps(chosen, len(skeleton.types))
    gaps[0] += chosen[0]
    current: Int64[np.ndarray, " skeleton"] = skeleton.tables.values.take(
        skeleton.tokens.take(chosen)
    ).repeat(gaps)
    return current


def _last_value(set_to: Ids, is_set: Bool[np.ndarray, " moves"]) -> Ids:
    """At each move the value that was set last; 0 before the first one."""
    latest = np.where(is_set, np.arange(len(is_set)), -1)
    np.maximum.accumulate(latest, out=latest)
    values: Ids = np.append(set_to, 0).take(latest, mode="wrap")  # the last for "none before"
    return values


def _gaps(indices: Ids, length: int) -> Ids:
    """Distance from each index to the next, and from the last one to the end."""
    gaps: Ids = np.empty(len(indices), dtype=np.intp)
    np.subtract(indices[1:], indices[:-1], out=gaps[:-1])
    gaps[-1:] = length - indices[-1:]
    return gaps
