"""The tokenizer's inner loops, one note or token at a time, for a compiler.

`compiled` hands them to numba. They say the same as the array expressions in `events`, `encode` and
`decode`, and run as plain Python too, slowly: the tests compare them without a compiler.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int8, Int32, Int64, Integer, UInt8, UInt16

from rwkv_music.score.instruments import SUSTAIN_PEDAL
from rwkv_music.tokenizer.tables import (
    BAR,
    FIRST_MASK,
    PART_SHIFT,
    PEDAL_DOWN,
    PEDAL_UP,
    PITCH_SHIFT,
    RANK_SHIFT,
    TIME_SHIFT,
    TOKEN_BITS,
    TOKEN_MASK,
)
from rwkv_music.tokenizer.vocabulary import SLOWEST_TEMPO, TEMPO_FRACTIONS, TokenType

_UP = PEDAL_UP << RANK_SHIFT
_DOWN = PEDAL_DOWN << RANK_SHIFT
Numbers = Integer[np.ndarray, " _"]

_BAR, _BEAT, _SUBBEAT, _NUM, _PART, _PROG, _TEMPO, _TEMPO_FRACTION, _PED, _DUR = (
    int(kind)
    for kind in (
        TokenType.BAR, TokenType.BEAT, TokenType.SUBBEAT, TokenType.NUM, TokenType.PART,
        TokenType.PROG, TokenType.TEMPO, TokenType.TEMPO_FRACTION, TokenType.PED, TokenType.DUR,
    )
)  # fmt: skip


def note_keys(
    time: Numbers,
    duration: Numbers,
    pitch: Numbers,
    velocity: Numbers,
    places: Int64[np.ndarray, " parts"],
    ends: Int64[np.ndarray, " parts"],
    ticks: int,
    steps: int,
    velocities: Int64[np.ndarray, " _"],
    durations: Int64[np.ndarray, " _"],
    lengths: Int64[np.ndarray, " _"],
    first_duration: int,
    exact: int,
) -> tuple[Int64[np.ndarray, " notes"], int, int]:
    """Keys of all notes, the last onset and the last offset; empty if a number is below 0."""
    keys = np.empty(len(time), dtype=np.int64)
    last_onset: Any = 0
    last_offset: Any = 0
    note = 0
    for part in range(len(ends)):
        while note < ends[part]:
            begins, lasts = np.int64(time[note]), np.int64(duration[note])
            if begins < 0 or lasts < 0 or pitch[note] < 0 or velocity[note] < 0:
                return keys[:0], -1, -1
            onset = (2 * begins * steps + ticks) // (2 * ticks)
            length = (2 * (begins + lasts) * steps + ticks) // (2 * ticks) - onset
            if length > exact:
                length = (2 * lasts * steps + ticks * (exact + 1) - 1) // ticks
                length = min(length, np.int64(len(durations) - 1))
            third = durations[length]
            keys[note] = (
                (onset << TIME_SHIFT)
                | places[part]
                | (np.int64(pitch[note]) << PITCH_SHIFT)
                | velocities[velocity[note]]
                | third
            )
            last_onset = max(last_onset, onset)
            last_offset = max(last_offset, onset + lengths[third - first_duration])
            note += 1
    return keys, last_onset, last_offset


def pedal_keys(
    number: Numbers,
    time: Numbers,
    value: Numbers,
    slots: Int64[np.ndarray, " parts"],
    ends: Int64[np.ndarray, " parts"],
    ticks: int,
    steps: int,
) -> tuple[Int64[np.ndarray, " switches"], bool]:
    """Keys of all switches of the sustain pedal, and whether times are in order and not below 0."""
    keys = np.empty(len(number), dtype=np.int64)
    count = message = 0
    for part in range(len(ends)):
        latest = moment = placed = np.int64(-1)
        was_down = is_down = False
        switches = 0
        while message <= ends[part]:
            is_last = message == ends[part]
            now, down = moment, is_down
            if not is_last:
                if number[message] != SUSTAIN_PEDAL:
                    message += 1
                    continue
                tick = np.int64(time[message])
                if tick < 0 or tick < latest:
                    return keys[:0], False
                latest = tick
                now, down = (2 * tick * steps + ticks) // (2 * ticks), value[message] >= 64
            if (down != is_down and now != moment) or is_last:
                # The switches of one moment are known; a lift stands a step behind its press.
                for place in range(min(switches, 2 + switches % 2)):
                    is_lift = was_down == (place % 2 == 0)
                    placed = max(moment, placed + is_lift)
                    keys[count] = (placed << TIME_SHIFT) + (slots[part] << PART_SHIFT)
                    keys[count] += _UP if is_lift else _DOWN
                    count += 1
                was_down, switches, moment = is_down, 0, now
            if is_last:
                break
            if down != is_down:
                switches += 1
                is_down = down
            message += 1
    return keys[:count], True


def emit(
    keys: Int64[np.ndarray, " events"],
    header: UInt16[np.ndarray, " _"],
    first: UInt16[np.ndarray, " codes"],
    beats: UInt16[np.ndarray, " steps"],
    subs: UInt16[np.ndarray, " steps"],
    first_slot: int,
    end: int,
) -> UInt16[np.ndarray, " tokens"]:
    """The header and the sorted events as tokens."""
    out = np.empty(len(header) + 6 * len(keys) + 1, dtype=np.uint16)
    out[: len(header)] = header
    place = len(header)
    bar_start: Any = 0
    slot_now: Any = -1
    beat_now, sub_now = beats[0], subs[0]
    for key in keys:
        rank = (key >> RANK_SHIFT) & 7
        time = key >> TIME_SHIFT
        if rank == BAR:
            bar_start, beat_now, sub_now = time, beats[0], subs[0]
        else:
            beat, sub = beats[time - bar_start], subs[time - bar_start]
            if beat != beat_now:
                out[place] = beat_now = beat
                place += 1
            if sub != sub_now:
                out[place] = sub_now = sub
                place += 1
        if rank >= PEDAL_UP:
            slot = (key >> PART_SHIFT) & 31
            if slot != slot_now:
                out[place] = first_slot + slot
                slot_now = slot
                place += 1
        token = first[(key >> PITCH_SHIFT) & FIRST_MASK]
        if token:
            out[place] = token
            place += 1
        second = (key >> TOKEN_BITS) & TOKEN_MASK
        if second:
            out[place] = second
            place += 1
        third = key & TOKEN_MASK
        if third:
            out[place] = third
            place += 1
    out[place] = end
    return out[: place + 1].copy()


def count_kinds(
    ids: Numbers, kinds: UInt8[np.ndarray, " vocab"], follows: Bool[np.ndarray, " pairs"]
) -> Int64[np.ndarray, " kinds"]:
    """How many tokens of each kind there are; empty if the stream is not well-formed."""
    counts = np.zeros(32, dtype=np.int64)
    before: Any = -1
    for token in ids:
        if token < 0 or token >= len(kinds):
            return counts[:0]
        kind = np.int64(kinds[token])
        if before >= 0 and not follows[before * 32 + kind]:
            return counts[:0]
        counts[kind] += 1
        before = kind
    return counts


def read(
    ids: Numbers,
    kinds: UInt8[np.ndarray, " vocab"],
    values: Int64[np.ndarray, " vocab"],
    counts: Int64[np.ndarray, " kinds"],
    grid: int,
) -> tuple[
    Int64[np.ndarray, " slots"],
    Int64[np.ndarray, "2 tempos"],
    Int64[np.ndarray, "3 signatures"],
    Int64[np.ndarray, "3 sounds"],
]:
    """A well-formed stream in one pass.

    Returns:
        Programs; tempos (time, value); signatures (time, numerator, denominator); and notes and
        pedal switches (index of the last token, time, slot), in the order of the stream.
    """
    programs = np.empty(counts[_PROG], dtype=np.int64)
    tempos = np.empty((2, counts[_TEMPO]), dtype=np.int64)
    signatures = np.empty((3, counts[_BAR]), dtype=np.int64)
    sounds = np.empty((3, counts[_DUR] + counts[_PED]), dtype=np.int64)
    num_programs = num_tempos = num_signatures = num_sounds = num_bars = 0
    numerator: Any = 4
    denominator: Any = 4
    slot = np.int64(0)
    if counts[_NUM]:
        for place in range(len(ids) - 1):
            if kinds[ids[place]] == _NUM:
                numerator, denominator = values[ids[place]], values[ids[place + 1]]
                break
    if counts[_PART]:
        for token in ids:
            if kinds[token] == _PART:
                slot = values[token]
                break
    start = beat = sub = np.int64(0)
    length: Any = 0
    numerator_now: Any = 0
    denominator_now: Any = 0
    before: Any = -1
    for place in range(len(ids)):
        token = ids[place]
        kind = np.int64(kinds[token])
        if kind in (_DUR, _PED):
            sounds[0, num_sounds] = place
            sounds[1, num_sounds] = start + beat + sub
            sounds[2, num_sounds] = slot
            num_sounds += 1
        elif kind == _BEAT:
            beat = values[token]
        elif kind == _SUBBEAT:
            sub = values[token]
        elif kind == _PART:
            slot = values[token]
        elif kind == _PROG and num_bars == 0:
            programs[num_programs] = values[token]
            num_programs += 1
        elif kind == _NUM and place + 1 < len(ids):
            numerator, denominator = values[token], values[ids[place + 1]]
        elif kind == _TEMPO:
            tempos[0, num_tempos] = start + beat + sub
            tempos[1, num_tempos] = (values[token] + SLOWEST_TEMPO) * TEMPO_FRACTIONS
            if place + 1 < len(ids) and kinds[ids[place + 1]] == _TEMPO_FRACTION:
                tempos[1, num_tempos] += values[ids[place + 1]]
            num_tempos += 1
        elif kind == _BAR:
            start += beat + sub if num_bars and before in (_BEAT, _SUBBEAT) else length
            beat = sub = np.int64(0)
            if place + 2 < len(ids) and kinds[ids[place + 1]] == _NUM:
                numerator, denominator = values[ids[place + 1]], values[ids[place + 2]]
            length = 4 * grid * numerator // denominator
            if numerator != numerator_now or denominator != denominator_now:
                numerator_now, denominator_now = numerator, denominator
                signatures[0, num_signatures] = start
                signatures[1, num_signatures] = numerator
                signatures[2, num_signatures] = denominator
                num_signatures += 1
            num_bars += 1
        before = kind
    return programs[:num_programs], tempos, signatures[:, :num_signatures], sounds


def split(
    ids: Numbers,
    sounds: Int64[np.ndarray, "3 sounds"],
    num_slots: int,
    kinds: UInt8[np.ndarray, " vocab"],
    values: Int64[np.ndarray, " vocab"],
    durations: Int32[np.ndarray, " vocab"],
    pitches: Int8[np.ndarray, " vocab"],
    velocities: Int8[np.ndarray, " vocab"],
) -> tuple[
    Int32[np.ndarray, "2 notes"],
    Int8[np.ndarray, "2 notes"],
    Int32[np.ndarray, " switches"],
    UInt8[np.ndarray, " switches"],
    Int64[np.ndarray, "2 ends"],
]:
    """Notes and pedal switches of `read` by slot, those of undeclared slots left out.

    Returns:
        Notes (time, duration) and (pitch, velocity); times and values of pedal switches; and where
        the notes (first row) and the switches of each slot begin, and the last ones end.
    """
    ends = np.zeros((2, num_slots + 1), dtype=np.int64)
    for sound in range(sounds.shape[1]):
        slot = sounds[2, sound]
        if slot < num_slots:
            ends[0 if kinds[ids[sounds[0, sound]]] == _DUR else 1, slot + 1] += 1
    for slot in range(num_slots):
        ends[:, slot + 1] += ends[:, slot]
    places = ends.copy()
    note_times = np.empty((2, ends[0, num_slots]), dtype=np.int32)
    note_sounds = np.empty((2, ends[0, num_slots]), dtype=np.int8)
    switch_times = np.empty(ends[1, num_slots], dtype=np.int32)
    switch_values = np.empty(ends[1, num_slots], dtype=np.uint8)
    for sound in range(sounds.shape[1]):
        last, slot = sounds[0, sound], sounds[2, sound]
        if slot < num_slots:
            if kinds[ids[last]] == _DUR:
                place = places[0, slot]
                places[0, slot] += 1
                note_times[0, place] = sounds[1, sound]
                note_times[1, place] = durations[ids[last]]
                note_sounds[0, place] = pitches[ids[last - 2]]
                note_sounds[1, place] = velocities[ids[last - 1]]
            else:
                place = places[1, slot]
                places[1, slot] += 1
                switch_times[place] = sounds[1, sound]
                switch_values[place] = 127 * values[ids[last]]
    return note_times, note_sounds, switch_times, switch_values, ends
