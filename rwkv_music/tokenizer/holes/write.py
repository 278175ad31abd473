"""A hole -> token ids."""

from typing import NamedTuple

import numpy as np

from rwkv_music.tokenizer.events import TOKEN_BITS, EventTable, EventType, Header, Keys, event_key
from rwkv_music.tokenizer.holes.boundary import Boundary
from rwkv_music.tokenizer.holes.control_levels import control_tokens
from rwkv_music.tokenizer.holes.hole import Hole, HoleStream, Ids
from rwkv_music.tokenizer.quantize import tempo_keys
from rwkv_music.tokenizer.reader import read_whole
from rwkv_music.tokenizer.vocabulary import Vocabulary
from rwkv_music.tokenizer.writer import header_tokens, signature_tokens, write_events

_CUT, _BAR = int(EventType.CUT), int(EventType.BAR)
_PEDAL_UP, _PEDAL_DOWN = int(EventType.PEDAL_UP), int(EventType.PEDAL_DOWN)


class HoleRuns(NamedTuple):
    """The stream of a hole in pieces."""

    opening: Ids
    """What stands in front of the first bar of the hole."""
    given: list[Ids]
    """For each bar BAR and all that is given in it."""
    written: list[Ids]
    """For each bar what is to be written."""


def write_hole(hole: Hole, vocabulary: Vocabulary) -> HoleStream:
    """Return the stream of a hole, and which of its tokens a model writes."""
    runs = hole_runs(hole, vocabulary)
    tokens, scored = [runs.opening], [np.zeros(len(runs.opening), dtype=bool)]
    for bar, (given, written) in enumerate(zip(runs.given, runs.written, strict=True)):
        tokens += [given, written]
        is_given = np.zeros(len(given), dtype=bool)
        is_given[0] = bar > 0
        scored += [is_given, np.ones(len(written), dtype=bool)]
    tokens.append(np.array([vocabulary.EOS], dtype=np.uint16))
    scored.append(np.ones(1, dtype=bool))
    return HoleStream(np.concatenate(tokens), np.concatenate(scored))


def hole_runs(hole: Hole, vocabulary: Vocabulary) -> HoleRuns:
    """Return the stream of a hole in pieces.

    Each bar of the hole has what is given in it, between GIVEN and WRITE, and then what is to be
    written. Tempos and the ends of cut bars are always given.
    """
    context, boundary = _context(hole, vocabulary)
    opening = [
        vocabulary.fill[len(hole.cells) - 1],
        *control_tokens(hole.controls, _listed_parts(hole), vocabulary),
    ]
    fill = read_whole(hole.fill, vocabulary)
    given, written = zip(*_runs(fill, boundary, hole, vocabulary), strict=True)
    return HoleRuns(
        np.concatenate([context, np.array(opening, dtype=np.uint16)]), list(given), list(written)
    )


def _listed_parts(hole: Hole) -> tuple[int, ...]:
    """Return the parts to state behind FILL; none if all are written and none has a control."""
    has_part_controls = any(part is not None for part in hole.controls)
    is_whole = len(hole.written) == hole.cells.shape[1]
    return () if is_whole and not has_part_controls else hole.written


def _context(hole: Hole, vocabulary: Vocabulary) -> tuple[Ids, Boundary]:
    """Return the tokens in front of FILL, and what holds where the hole begins."""
    windows = [(vocabulary.PREFIX, hole.prefix), (vocabulary.SUFFIX, hole.suffix)]
    sections = [(mark, ids) for mark, ids in windows if len(ids)]
    if hole.suffix_first:
        sections.reverse()
    opening = sections[0][1] if sections else hole.fill
    header = read_whole(opening, vocabulary).header
    stream = [np.array(header_tokens(header, vocabulary), dtype=np.uint16)]
    state = boundary = Boundary.before(header)
    for mark, ids in sections:
        table = read_whole(ids, vocabulary)
        is_marked = len(stream) > 1 or mark == vocabulary.SUFFIX
        stream.append(_section(ids, table.header, state, mark if is_marked else None, vocabulary))
        state = Boundary.behind(table, vocabulary)
        if mark == vocabulary.PREFIX:
            boundary = state
    return np.concatenate(stream), boundary


def _section(
    ids: Ids, header: Header, state: Boundary, mark: int | None, vocabulary: Vocabulary
) -> Ids:
    """Return the bars of a window, behind a mark, with what changes at its beginning."""
    signature, tempo = state.changes_to(header, vocabulary)
    marks = [] if mark is None else [mark]
    bar = int(np.argmax(ids == vocabulary.BAR))
    opening = np.array([*marks, vocabulary.BAR, *signature, *tempo], dtype=np.uint16)
    return np.concatenate([opening, ids[bar + 1 :]])


def _runs(
    fill: EventTable, boundary: Boundary, hole: Hole, vocabulary: Vocabulary
) -> list[tuple[Ids, Ids]]:
    """Return for each bar of the hole BAR with all that is given, and what is to be written."""
    keys = _keys_behind(fill, boundary, vocabulary)
    table = EventTable(fill.header, keys)
    types, times, parts = table.values.types, table.values.times, table.values.parts
    is_bar = types == _BAR
    bar_times = times[is_bar]
    bars = bar_times.searchsorted(times - (types == _CUT), side="right") - 1
    is_written = (types >= _PEDAL_UP) & hole.cells[bars, np.minimum(parts, hole.cells.shape[1] - 1)]
    runs = []
    for bar, time in enumerate(bar_times.tolist()):
        own = bars == bar
        [row] = np.flatnonzero(own & is_bar)
        signature = [int(table.values.second_tokens[row]), int(table.values.third_tokens[row])]
        stated = [vocabulary.BAR, *(token for token in signature if token)]
        listed = [part for part in hole.written if not hole.cells[bar, part]]
        given = _run(fill, time, keys[own & ~is_written & ~is_bar], vocabulary)
        if listed or len(given):
            given_parts = [vocabulary.part[part] for part in listed]
            stated += [vocabulary.GIVEN, *given_parts, *given.tolist(), vocabulary.WRITE]
        written = _run(fill, time, keys[own & is_written], vocabulary)
        runs.append((np.array(stated, dtype=np.uint16), written))
    return runs


def _run(fill: EventTable, time: int, keys: Keys, vocabulary: Vocabulary) -> Ids:
    """Return the events of one bar as tokens, from position 0 on, with their first part stated."""
    if not len(keys):
        return np.zeros(0, dtype=np.uint16)
    ordered = np.concatenate([[event_key(_BAR, time=time)], keys])
    table = EventTable(fill.header, ordered, is_complete=False)
    tokens = write_events(table, vocabulary)
    return tokens[len(header_tokens(fill.header, vocabulary)) + 1 :]


def _keys_behind(fill: EventTable, boundary: Boundary, vocabulary: Vocabulary) -> Keys:
    """Return the events of a hole with what changes at its beginning, and without what does not."""
    values = fill.values
    at_start = values.times == 0
    is_switch = (values.types == _PEDAL_UP) | (values.types == _PEDAL_DOWN)
    down = frozenset(values.parts[at_start & (values.types == _PEDAL_DOWN)].tolist())
    keys = fill.keys[~(at_start & is_switch)].copy()
    header = fill.header
    if (header.numerator, header.denominator) != (boundary.numerator, boundary.denominator):
        num, den = signature_tokens(header.numerator, header.denominator, vocabulary)
        keys[0] |= (num << TOKEN_BITS) | den
    switches = [event_key(_PEDAL_DOWN, part=part) for part in down - boundary.pedals]
    switches += [event_key(_PEDAL_UP, part=part) for part in boundary.pedals - down]
    tempos = np.array([header.tempo] if header.tempo != boundary.tempo else [], dtype=np.int64)
    tempos = tempo_keys(np.zeros_like(tempos), tempos, vocabulary)
    changed = np.concatenate([keys, np.array(switches, dtype=np.int64), tempos])
    changed.sort()
    return changed
