"""Move the music of an event table off its bar lines."""

import numpy as np

from rwkv_music.data.augmentation.table_editing import (
    BAR,
    PEDAL_DOWN,
    PEDAL_UP,
    TEMPO,
    changed_table,
    parts_of,
    times_of,
    types_of,
)
from rwkv_music.tokenizer.events import (
    LAST_TIME,
    TIME_SHIFT,
    TOKEN_BITS,
    TOKEN_MASK,
    EventTable,
    EventType,
    event_key,
)
from rwkv_music.tokenizer.holes.boundary import Boundary
from rwkv_music.tokenizer.vocabulary import Vocabulary

_CUT = int(EventType.CUT)


def shift_off_bars(
    table: EventTable, steps: int, vocabulary: Vocabulary, *, drops_first_bar: bool = False
) -> EventTable:
    """Move all music to the right by less than a bar, so that it does not begin on a bar line.

    What a window would lose beyond its last bar is left out; a piece gets one more bar.

    Args:
        table: The events. Tables whose time signature changes are returned as they are.
        steps: Grid steps, less than a bar.
        vocabulary: Of the tokens.
        drops_first_bar: Leave out the first bar afterwards, which begins with silence.
    """
    keys, types = table.keys, types_of(table.keys)
    header = table.header
    length = 4 * vocabulary.steps_per_quarter * header.numerator // header.denominator
    bars = keys[types == BAR]
    states_signature = ((bars >> TOKEN_BITS) & TOKEN_MASK) > 0
    if states_signature.any() or (types == _CUT).any() or not 0 < steps < length:
        return table
    if drops_first_bar and len(bars) < 2:
        return table
    end = int(times_of(bars[-1:])[0]) + length
    if end + length > LAST_TIME:
        return table
    moved = np.where(types >= TEMPO, keys + (steps << TIME_SHIFT), keys)
    spilled = times_of(moved) >= end
    if table.is_complete and spilled.any():
        moved = np.append(moved, event_key(BAR, time=end))
    elif not table.is_complete:
        moved = moved[~spilled]
    changed = changed_table(table, moved, vocabulary)
    if drops_first_bar and changed is not table:
        return without_first_bar(changed, vocabulary)
    return changed


def without_first_bar(table: EventTable, vocabulary: Vocabulary) -> EventTable:
    """Return the table from its second bar on, with the tempo and pedals that hold there."""
    keys, types = table.keys, types_of(table.keys)
    cut = int(times_of(keys[types == BAR])[1])
    is_before = times_of(keys) <= cut
    tempos = table.select(is_before & (types == TEMPO))
    header = table.header._replace(tempo=Boundary.behind(tempos, vocabulary).tempo)
    is_pedal = (types == PEDAL_UP) | (types == PEDAL_DOWN)
    parts = parts_of(keys)
    held = []
    for part in np.unique(parts[is_before & is_pedal]).tolist():
        last = np.flatnonzero(is_before & is_pedal & (parts == part))[-1]
        if types[last] == PEDAL_DOWN:
            held.append(keys[last] + ((cut - times_of(keys)[last]) << TIME_SHIFT))
    kept = keys[(times_of(keys) >= cut) & ~(is_before & (is_pedal | (types == TEMPO)))]
    keys = np.sort(np.concatenate([kept, np.array(held, dtype=np.int64)]))
    return EventTable(header, keys - (cut << TIME_SHIFT), is_complete=table.is_complete)
