"""Changes to a stream that add or take away events, and leave it canonical."""

import numpy as np
from jaxtyping import Int64, Integer, UInt16

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.decode import Bars, slots_in_force, well_formed
from rwkv_music.tokenizer.encode import emit
from rwkv_music.tokenizer.tables import (
    BAR,
    CUT,
    DRUM,
    NOTE,
    PART_SHIFT,
    PEDAL_DOWN,
    PEDAL_UP,
    PITCH_SHIFT,
    RANK_SHIFT,
    TEMPO,
    TIME_SHIFT,
    TOKEN_BITS,
    decoding_tables,
)
from rwkv_music.tokenizer.vocabulary import TokenType, Vocabulary

Ids = UInt16[np.ndarray, " _"]
Keys = Int64[np.ndarray, " _"]
Numbers = Integer[np.ndarray, " _"]


def without_part(ids: Ids, slot: int, vocabulary: Vocabulary) -> Ids:
    """A piece or window without one of its parts; the parts behind it move up by one slot.

    Args:
        ids: From BOS on; canonical.
        slot: The part to leave out.
        vocabulary: What the ids mean.

    Returns:
        What the encoder would write. The ids themselves, unchanged, if that would have other bars:
        if the part is the only one, or if nothing else sounds in the last bar of a piece, or at
        its last tempo.

    Raises:
        InputError: If there is no such part, or the ids are no stream.
    """
    stream = well_formed(ids, vocabulary)
    if stream is None:
        raise InputError("the ids are no stream: give a whole piece or window, from BOS on")
    places, kinds = stream
    first_bar = int((kinds == TokenType.BAR).argmax())
    programs = (kinds[:first_bar] == int(TokenType.PROG)).nonzero()[0]
    if not 0 <= slot < len(programs):
        raise InputError(f"there is no part {slot}: the stream has {len(programs)}, from 0 on")
    bars = Bars.of(places, kinds, vocabulary)
    sounds, sound_ends = _sound_keys(places, kinds, bars, vocabulary)
    slots = (sounds >> PART_SHIFT) & 31
    others = slots != slot
    sounds, sound_ends = sounds[others], sound_ends[others]
    sounds -= (slots[others] > slot).astype(np.int64) << PART_SHIFT
    tempos = _tempo_keys(places, kinds, bars, vocabulary)
    is_whole = ids[-1] == vocabulary.EOS
    if not len(sounds) or (is_whole and _ends_earlier(sounds, sound_ends, tempos, bars)):
        return ids
    opens = _bar_keys(places, kinds, bars)
    # A bar is cut at a position right before a BAR, or at the end of a window.
    ends = np.append(bars.places[1:], len(ids)) - 1
    ends = ends[(kinds[ends] == int(TokenType.BEAT)) | (kinds[ends] == int(TokenType.SUBBEAT))]
    cuts = (bars.times[ends].astype(np.int64) << TIME_SHIFT) + (CUT << RANK_SHIFT)
    keys = np.sort(np.concatenate([sounds, tempos, opens, cuts]))
    parts = []
    for number, program in enumerate(np.delete(programs, slot).tolist()):
        parts += [vocabulary.part[number], int(places[program])]
    header = [*places[: programs[0] - 1].tolist(), *parts]
    written = emit(keys, opens, header, vocabulary)
    return written if is_whole else written[:-1]


def _ends_earlier(sounds: Keys, sound_ends: Keys, tempos: Keys, bars: Bars) -> bool:
    """Whether the last bar holds no event, or the last tempo is heard by none."""
    last_event = int(max(sounds.max(), tempos.max(initial=0))) >> TIME_SHIFT
    last_tempo = int(tempos.max(initial=-1)) >> TIME_SHIFT
    return last_event < int(bars.starts[-1]) or last_tempo >= int(sound_ends.max())


def _sound_keys(
    ids: Numbers, kinds: Numbers, bars: Bars, vocabulary: Vocabulary
) -> tuple[Keys, Keys]:
    """Keys of all notes and pedal switches, and when each ends."""
    tables = decoding_tables(vocabulary)
    slots = slots_in_force(ids, kinds, tables.values)
    ends = (kinds == int(TokenType.DUR)).nonzero()[0]
    switches = (kinds == int(TokenType.PED)).nonzero()[0]
    rank = np.where(kinds[ends - 2] == int(TokenType.DRUM), DRUM, NOTE)
    way = np.where(tables.values[ids[switches]] == 1, PEDAL_DOWN, PEDAL_UP)
    notes = _placed(bars, ends, rank, slots) | (
        (tables.pitches[ids[ends - 2]].astype(np.int64) << PITCH_SHIFT)
        | (ids[ends - 1] << TOKEN_BITS)
        | ids[ends]
    )
    note_ends = bars.times[ends] + tables.durations[ids[ends]].astype(np.int64)
    return (
        np.concatenate([notes, _placed(bars, switches, way, slots)]),
        np.concatenate([note_ends, bars.times[switches].astype(np.int64)]),
    )


def _placed(bars: Bars, places: Numbers, rank: Numbers, slots: Numbers) -> Keys:
    """The bits of keys that say time, rank and slot."""
    keys: Keys = bars.times[places].astype(np.int64) << TIME_SHIFT
    keys |= rank << RANK_SHIFT
    keys |= slots[places].astype(np.int64) << PART_SHIFT
    return keys


def _tempo_keys(ids: Numbers, kinds: Numbers, bars: Bars, vocabulary: Vocabulary) -> Keys:
    """Keys of all tempo changes; the header's tempo is none."""
    places = (kinds == int(TokenType.TEMPO)).nonzero()[0]
    places = places[places > bars.places[0]]
    behind = np.minimum(places + 1, len(ids) - 1)
    fraction = ids[behind] * (kinds[behind] == int(TokenType.TEMPO_FRACTION))
    keys: Keys = bars.times[places].astype(np.int64) << TIME_SHIFT
    keys |= (TEMPO << RANK_SHIFT) | ((ids[places] - vocabulary.tempo.start) << PITCH_SHIFT)
    keys |= fraction << TOKEN_BITS
    return keys


def _bar_keys(ids: Numbers, kinds: Numbers, bars: Bars) -> Keys:
    """Keys of all bars, with the signatures they state."""
    behind = np.minimum(bars.places + 1, len(ids) - 2)
    states = kinds[behind] == int(TokenType.NUM)
    keys: Keys = (bars.starts << TIME_SHIFT) | (BAR << RANK_SHIFT)
    keys |= ((ids[behind] << TOKEN_BITS) | ids[behind + 1]) * states
    return keys
