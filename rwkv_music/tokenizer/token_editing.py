"""Changes to a stream that remove events, and leave it canonical."""

import numpy as np
from jaxtyping import Int64, UInt16

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.events import PART_SHIFT, EventTable, EventType
from rwkv_music.tokenizer.reader import read_whole
from rwkv_music.tokenizer.tables import decoding_tables
from rwkv_music.tokenizer.vocabulary import Vocabulary
from rwkv_music.tokenizer.writer import write_events

Ids = UInt16[np.ndarray, " _"]
# Plain numbers: comparing an array with a member of an enumeration is slow.
_BAR = int(EventType.BAR)
_TEMPO = int(EventType.TEMPO)
_PEDAL_UP = int(EventType.PEDAL_UP)


def without_part(ids: Ids, part: int, vocabulary: Vocabulary) -> Ids:
    """Remove one part of a piece or window; the parts behind it move up by one.

    Args:
        ids: From BOS on; canonical.
        part: Index of the part to remove.
        vocabulary: Of the tokenizer that made the ids.

    Returns:
        What the encoder would write. The ids themselves, unchanged, if that would have other bars:
        if the part is the only one, or if nothing else sounds in the last bar of a piece, or at
        its last tempo.

    Raises:
        InputError: If there is no such part, or the ids are not a stream.
    """
    table = read_whole(ids, vocabulary)
    programs = table.header.programs
    if not 0 <= part < len(programs):
        raise InputError(
            f"part {part} does not exist: the stream has {len(programs)}, counted from 0"
        )
    has_part = table.values.types >= _PEDAL_UP
    rest = table.select(~has_part | (table.values.parts != part))
    has_part = rest.values.types >= _PEDAL_UP
    if not has_part.any() or (rest.is_complete and _ends_earlier(rest, vocabulary)):
        return ids
    keys = rest.keys - ((has_part & (rest.values.parts > part)).astype(np.int64) << PART_SHIFT)
    header = table.header._replace(programs=(*programs[:part], *programs[part + 1 :]))
    changed = EventTable(header, keys, is_complete=rest.is_complete)
    return write_events(changed, vocabulary)


def _ends_earlier(table: EventTable, vocabulary: Vocabulary) -> bool:
    """Whether the last bar holds no event, or nothing sounds at the last tempo."""
    types, times = table.values.types, table.values.times
    last_event = int(times[types >= _TEMPO].max())
    last_tempo = int(times[types == _TEMPO].max(initial=-1))
    last_bar = int(times[types == _BAR][-1])
    return last_event < last_bar or last_tempo >= int(_sound_ends(table, vocabulary).max())


def _sound_ends(table: EventTable, vocabulary: Vocabulary) -> Int64[np.ndarray, " sounds"]:
    """When each note ends, and when each pedal switch happens."""
    sounds = table.select(table.values.types >= _PEDAL_UP)
    ends: Int64[np.ndarray, " sounds"] = sounds.values.times.copy()
    ends += decoding_tables(vocabulary).durations.take(sounds.values.third_tokens)
    return ends
