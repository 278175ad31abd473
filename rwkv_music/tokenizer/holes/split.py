"""Token ids -> a hole."""

from dataclasses import dataclass, field

import numpy as np

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.events import (
    EventTable,
    EventType,
    Header,
    event_key,
)
from rwkv_music.tokenizer.hole_grammar import HoleGrammar
from rwkv_music.tokenizer.holes.boundary import Boundary
from rwkv_music.tokenizer.holes.control_levels import ControlLevels
from rwkv_music.tokenizer.holes.hole import Hole, Ids
from rwkv_music.tokenizer.reader import read_whole
from rwkv_music.tokenizer.vocabulary import (
    CONTROL_LEVELS,
    DENOMINATORS,
    SLOWEST_TEMPO,
    TEMPO_FRACTIONS,
    TokenType,
    Vocabulary,
)
from rwkv_music.tokenizer.writer import header_tokens, write_events

_CUT, _BAR, _TEMPO = int(EventType.CUT), int(EventType.BAR), int(EventType.TEMPO)
_PEDAL_UP, _PEDAL_DOWN = int(EventType.PEDAL_UP), int(EventType.PEDAL_DOWN)
_POSITIONS = (TokenType.BEAT, TokenType.SUBBEAT)


def split_hole(ids: Ids, vocabulary: Vocabulary) -> Hole:
    """Return the hole that a stream describes; `write_hole` returns the same stream again.

    Args:
        ids: From BOS to EOS.
        vocabulary: Of the ids.

    Raises:
        InputError: If the ids are no such stream.
    """
    grammar = HoleGrammar(vocabulary)
    grammar.feed(ids)
    if grammar.hole_bars_left != 0 or not grammar.finished:
        raise InputError("the ids are no stream with a hole: they need FILL, its bars and EOS")
    types = vocabulary.types_of(ids)
    marks = np.flatnonzero(np.isin(types, (TokenType.SUFFIX, TokenType.PREFIX, TokenType.FILL)))
    programs = np.flatnonzero(types == TokenType.PROG)
    header_end = int(programs[-1]) + 1
    opening = np.append(ids[:header_end], np.uint16(vocabulary.BAR))
    header = read_whole(opening, vocabulary).header
    state = boundary = Boundary.before(header)
    windows = {TokenType.PREFIX: ids[:0], TokenType.SUFFIX: ids[:0]}
    order: list[TokenType] = []
    starts = np.append(header_end, marks)
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        mark = TokenType(int(types[start]))
        if stop == start:
            continue
        body = ids[start + (mark is not TokenType.BAR) : stop]
        mark = TokenType.PREFIX if mark is TokenType.BAR else mark
        windows[mark] = _window(body, state, header.programs, vocabulary)
        order.append(mark)
        state = Boundary.behind(read_whole(windows[mark], vocabulary), vocabulary)
        if mark is TokenType.PREFIX:
            boundary = state
    return _with_fill(ids[marks[-1] :], windows, boundary, header.programs, vocabulary, order)


def _window(body: Ids, state: Boundary, programs: tuple[int, ...], vocabulary: Vocabulary) -> Ids:
    """Return the bars of a section as a window: what changes at its beginning moves to its header.

    Args:
        body: From the first BAR on.
        state: What holds in front of it.
        programs: Of the parts.
        vocabulary: Of the ids.
    """
    opening = np.append(body[1:5], np.full(4, vocabulary.BAR))
    types, values = vocabulary.types_of(opening).tolist(), vocabulary.values[opening].tolist()
    tempo, numerator, denominator = state.tempo, state.numerator, state.denominator
    stated = 0
    if types[0] == TokenType.NUM:
        numerator, denominator = values[0] + 1, DENOMINATORS[values[1]]
        stated = 2
    if types[stated] == TokenType.TEMPO:
        tempo = (SLOWEST_TEMPO + values[stated]) * TEMPO_FRACTIONS
        stated += 1
        if types[stated] == TokenType.TEMPO_FRACTION:
            tempo += values[stated]
            stated += 1
    header = header_tokens(Header(tempo, numerator, denominator, programs), vocabulary)
    return np.concatenate(
        [np.array([*header, vocabulary.BAR], dtype=np.uint16), body[1 + stated :]]
    )


@dataclass
class _Fill:
    """The tokens behind FILL, sorted by what they are."""

    controls: ControlLevels = field(default_factory=dict)
    listed: list[int] = field(default_factory=list)
    stated: list[list[int]] = field(default_factory=list)
    """For each bar BAR, and NUM DEN where the signature changes."""
    given_parts: list[list[int]] = field(default_factory=list)
    given: list[list[int]] = field(default_factory=list)
    written: list[list[int]] = field(default_factory=list)

    @classmethod
    def of(cls, ids: Ids, vocabulary: Vocabulary) -> "_Fill":
        """Sort the tokens from FILL to EOS."""
        fill = cls()
        target: list[int] | None = None
        lists_given = False
        for token in ids[1:-1].tolist():
            token_type = TokenType(int(vocabulary.types[token]))
            value = int(vocabulary.values[token])
            if token_type is TokenType.BAR:
                fill.stated.append([token])
                fill.given_parts.append([])
                fill.given.append([])
                fill.written.append([])
                target = fill.written[-1]
            elif target is None:
                fill._state(token_type, value)
            elif token_type in {TokenType.NUM, TokenType.DEN}:
                fill.stated[-1].append(token)
            elif token_type is TokenType.GIVEN:
                target, lists_given = fill.given[-1], True
            elif token_type is TokenType.WRITE:
                target, lists_given = fill.written[-1], False
            elif lists_given and token_type is TokenType.PART and fill._is_listed(value):
                fill.given_parts[-1].append(value)
            else:
                lists_given = False
                target.append(token)
        return fill

    def _state(self, token_type: TokenType, value: int) -> None:
        if token_type is TokenType.PART:
            self.listed.append(value)
            return
        assert token_type in CONTROL_LEVELS
        part = self.listed[-1] if self.listed else None
        self.controls.setdefault(part, {})[token_type] = value

    def _is_listed(self, part: int) -> bool:
        is_written = part in self.listed or not self.listed
        return is_written and part > max(self.given_parts[-1], default=-1)


def _with_fill(
    ids: Ids,
    windows: dict[TokenType, Ids],
    boundary: Boundary,
    programs: tuple[int, ...],
    vocabulary: Vocabulary,
    order: list[TokenType],
) -> Hole:
    fill = _Fill.of(ids, vocabulary)
    cells = np.zeros((len(fill.stated), len(programs)), dtype=bool)
    cells[:, fill.listed or slice(None)] = True
    for bar, parts in enumerate(fill.given_parts):
        cells[bar, parts] = False
    table = _merged_events(fill, boundary, programs, vocabulary)
    return Hole(
        prefix=windows[TokenType.PREFIX],
        fill=_fill_window(table, boundary.pedals, vocabulary),
        suffix=windows[TokenType.SUFFIX],
        cells=cells,
        controls=fill.controls,
        suffix_first=order == [TokenType.SUFFIX, TokenType.PREFIX],
    )


def _merged_events(
    fill: _Fill, boundary: Boundary, programs: tuple[int, ...], vocabulary: Vocabulary
) -> EventTable:
    """Return all events of the hole, sorted, with what changes at its beginning.

    The header has the signature of the first bar, but the tempo in front of it.
    """
    header = Header(boundary.tempo, boundary.numerator, boundary.denominator, programs)
    opening = header_tokens(header, vocabulary)
    given = _bars_of(opening, fill.stated, fill.given, vocabulary)
    ends = [_position_at_end(tokens, vocabulary) for tokens in fill.given]
    written = _bars_of(
        opening, fill.stated, [[*run, *end] for run, end in zip(fill.written, ends, strict=True)],
        vocabulary,
    )  # fmt: skip
    own = written.keys[written.values.types > _BAR]
    keys = np.concatenate([given.keys, own])
    keys.sort()
    return EventTable(given.header, keys, is_complete=False)


def _bars_of(
    opening: list[int], stated: list[list[int]], runs: list[list[int]], vocabulary: Vocabulary
) -> EventTable:
    tokens = list(opening)
    for bar, run in zip(stated, runs, strict=True):
        tokens += [*bar, *run]
    return read_whole(np.array(tokens, dtype=np.uint16), vocabulary)


def _position_at_end(tokens: list[int], vocabulary: Vocabulary) -> list[int]:
    """Return the position at which the given run says that the bar is cut; nothing if it is not."""
    if not tokens or vocabulary.types[tokens[-1]] not in _POSITIONS:
        return []
    position = {TokenType.BEAT: vocabulary.beat[0], TokenType.SUBBEAT: vocabulary.subbeat[0]}
    for token in tokens:
        token_type = TokenType(int(vocabulary.types[token]))
        if token_type in position:
            position[token_type] = token
    return list(position.values())


def _fill_window(table: EventTable, pedals: frozenset[int], vocabulary: Vocabulary) -> Ids:
    """Return the events of a hole as a window: what changes at its beginning opens the window.

    Args:
        table: The events.
        pedals: Parts whose pedal is down in front of the hole.
        vocabulary: Of the ids.
    """
    types, at_start = table.values.types, table.values.times == 0
    is_tempo = at_start & (types == _TEMPO)
    tempo = Boundary.behind(table.select(is_tempo), vocabulary).tempo
    is_switch = at_start & ((types == _PEDAL_UP) | (types == _PEDAL_DOWN))
    down = Boundary.behind(table.select(is_switch), vocabulary, pedals=pedals).pedals
    keys = table.keys[~(is_tempo | is_switch)]
    switches = [event_key(_PEDAL_DOWN, part=part) for part in down]
    ordered = np.concatenate([keys, np.array(switches, dtype=np.int64)])
    ordered.sort()
    header = table.header._replace(tempo=tempo)
    return write_events(EventTable(header, ordered, is_complete=False), vocabulary)
