"""Score -> token ids, vectorised over notes.

Every event becomes one 64-bit key whose order is the order of the stream; one sort puts them in
place; then each event writes its tokens into a row, and the empty places are squeezed out.
"""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64, UInt16

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.bars import bar_keys, signature_segments, signature_tokens
from rwkv_music.tokenizer.compiled import Loops, compiled_loops
from rwkv_music.tokenizer.events import (
    Grid,
    note_columns,
    note_keys,
    pedal_keys,
    tempo_changes,
    tempo_keys,
)
from rwkv_music.tokenizer.parts import Part, parts_of
from rwkv_music.tokenizer.tables import (
    FIRST_MASK,
    LAST_TIME,
    PART_SHIFT,
    PEDAL_UP,
    PITCH_SHIFT,
    RANK_SHIFT,
    TIME_SHIFT,
    TOKEN_BITS,
    TOKEN_MASK,
    EncodingTables,
    encoding_tables,
)
from rwkv_music.tokenizer.vocabulary import SLOWEST_TEMPO, TEMPO_FRACTIONS, Vocabulary

if TYPE_CHECKING:
    import symusic

Array = Int64[np.ndarray, " _"]
_PART_MASK = (1 << (RANK_SHIFT - PART_SHIFT)) - 1


def encode(score: "symusic.Score", vocabulary: Vocabulary) -> UInt16[np.ndarray, " tokens"]:
    """The canonical stream of a score; see `Tokenizer.encode`."""
    return encode_with(score, vocabulary, compiled_loops())


def encode_with(
    score: "symusic.Score", vocabulary: Vocabulary, loops: Loops | None
) -> UInt16[np.ndarray, " tokens"]:
    """The same, by compiled loops if they are given."""
    tables = encoding_tables(vocabulary)
    parts = parts_of(score, vocabulary.max_parts)
    grid = Grid(score.ticks_per_quarter, vocabulary.steps_per_quarter)
    notes, last_event, last_offset = note_keys(note_columns(parts), grid, tables, loops)
    pedals = pedal_keys(parts, grid, loops)
    tempo, times, values = tempo_changes(score, grid)
    if len(pedals):
        last_event = max(last_event, int(pedals.max()) >> TIME_SHIFT)
    if len(times):
        # No tempo that no note or pedal hears.
        heard = int(times.searchsorted(max(last_event, last_offset)))
        times, values = times[:heard], values[:heard]
        last_event = max(last_event, int(times.max(initial=0)))
    if last_event > LAST_TIME:
        raise InputError(
            f"the score is {last_event // vocabulary.steps_per_quarter} quarters long; at most "
            f"{LAST_TIME // vocabulary.steps_per_quarter} can be written: split it"
        )
    segments = signature_segments(score, grid.round_one)
    bars, cuts = bar_keys(segments, vocabulary, last_event)
    keys = np.concatenate(
        [notes, pedals, tempo_keys(times, values, vocabulary), *bars, np.array(cuts, np.int64)]
    )
    keys.sort()
    header = [
        vocabulary.BOS,
        *tempo_tokens(tempo, vocabulary),
        *signature_tokens(*segments[0][1:], vocabulary),
        *_part_tokens(parts, vocabulary),
    ]
    if loops:
        opening = np.array(header, dtype=np.uint16)
        slots, end = vocabulary.part.start, vocabulary.EOS
        tokens: UInt16[np.ndarray, " tokens"] = loops.emit(
            keys, opening, tables.first, tables.beat, tables.sub, slots, end
        )
        return tokens
    return emit(keys, bars[0] if len(bars) == 1 else np.concatenate(bars), header, vocabulary)


def tempo_tokens(steps: int, vocabulary: Vocabulary) -> list[int]:
    """TEMPO, and TEMPO_FRACTION unless the fraction is 0."""
    whole, fraction = divmod(steps, TEMPO_FRACTIONS)
    tokens = [vocabulary.tempo[whole - SLOWEST_TEMPO]]
    return [*tokens, vocabulary.tempo_fraction[fraction]] if fraction else tokens


def _part_tokens(parts: list[Part], vocabulary: Vocabulary) -> list[int]:
    tokens = []
    for slot, part in enumerate(parts):
        tokens += [vocabulary.part[slot], vocabulary.program[part.program]]
    return tokens


def emit(
    keys: Array, bars: Array, header: list[int], vocabulary: Vocabulary
) -> UInt16[np.ndarray, " tokens"]:
    """Lay the sorted events out as tokens.

    Each event gets a row of six places: BEAT, SUBBEAT, PART and up to three tokens of its own.
    Places that stay empty hold 0 (PAD, which no event writes) and are squeezed out at the end.
    """
    tables = encoding_tables(vocabulary)
    opening = len(header)
    flat = np.zeros(opening + 6 * len(keys) + 1, dtype=np.uint16)
    flat[:opening] = header
    flat[-1] = vocabulary.EOS
    rows = flat[opening:-1].reshape(-1, 6)
    _write_positions(rows, keys, bars, tables)
    code = keys >> PITCH_SHIFT
    code &= FIRST_MASK
    rows[:, 3] = tables.first.take(code)
    sounding = (code >= PEDAL_UP << (RANK_SHIFT - PITCH_SHIFT)).nonzero()[0]
    slot = code.take(sounding) >> (PART_SHIFT - PITCH_SHIFT)
    slot &= _PART_MASK
    own = slot + vocabulary.part.start
    own[1:] *= slot[1:] != slot[:-1]
    rows[sounding, 2] = own
    rows[:, 4] = (keys >> TOKEN_BITS) & TOKEN_MASK
    rows[:, 5] = keys & TOKEN_MASK
    tokens: UInt16[np.ndarray, " tokens"] = flat[flat != 0]
    return tokens


def _write_positions(
    rows: UInt16[np.ndarray, "events 6"], keys: Array, bars: Array, tables: EncodingTables
) -> None:
    """BEAT and SUBBEAT where they differ from the event before; a bar begins with both at 0."""
    opens = keys.searchsorted(bars)
    events = np.empty(len(bars), dtype=np.int64)
    np.subtract(opens[1:], opens[:-1], out=events[:-1])
    events[-1] = len(keys) - opens[-1]
    steps = keys - (bars >> TIME_SHIFT << TIME_SHIFT).repeat(events)
    steps >>= TIME_SHIFT
    for column, table in enumerate((tables.beat, tables.sub)):
        token = table.take(steps)
        rows[1:, column] = token[1:] * (token[1:] != token[:-1])
    rows[opens, :2] = 0
