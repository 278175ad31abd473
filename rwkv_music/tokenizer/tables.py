"""Look-up tables for reading and writing the token ids of one vocabulary."""

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32

from rwkv_music.tokenizer.events import (
    PITCH_SHIFT,
    TEMPO_MASK,
    TOKEN_BITS,
    TYPE_MASK,
    TYPE_SHIFT,
    EventType,
)
from rwkv_music.tokenizer.followers import FOLLOWERS
from rwkv_music.tokenizer.tokenizer_settings import MAX_PARTS
from rwkv_music.tokenizer.vocabulary import (
    DENOMINATORS,
    FASTEST_TEMPO,
    MAX_BEATS,
    SLOWEST_TEMPO,
    TEMPO_FRACTIONS,
    TokenType,
    Vocabulary,
    tempo_microseconds,
)


class EncodingTables(NamedTuple):
    """What encoding looks up."""

    velocity: Int64[np.ndarray, " velocities"]
    """Velocity -> VEL as bits of a key."""
    duration: Int64[np.ndarray, " lengths"]
    """Length as `_duration_tokens` counts it -> DUR."""
    steps: Int64[np.ndarray, " durations"]
    """Index of a DUR in its range -> grid steps."""
    first: UInt16[np.ndarray, " codes"]
    """Type, part and pitch of an event -> its first token; 0 for a cut."""
    beat: UInt16[np.ndarray, " steps"]
    """Grid steps since the bar line -> BEAT."""
    subbeat: UInt16[np.ndarray, " steps"]
    """Grid steps since the bar line -> SUBBEAT."""
    first_duration: int
    """The first DUR."""
    exact_steps: int
    """Up to this length, half a quarter, every whole number of grid steps has a DUR."""


@lru_cache
def encoding_tables(vocabulary: Vocabulary) -> EncodingTables:
    """Return the tables of a vocabulary, made once."""
    first = np.zeros((len(EventType), 1 << (TYPE_SHIFT - PITCH_SHIFT)), dtype=np.uint16)
    first[EventType.BAR] = vocabulary.BAR
    first[EventType.TEMPO, : len(vocabulary.tempo)] = vocabulary.tempo
    first[EventType.PEDAL_UP], first[EventType.PEDAL_DOWN] = vocabulary.pedal
    first[EventType.NOTE] = np.tile(vocabulary.pitch, MAX_PARTS)
    first[EventType.DRUM] = np.tile(vocabulary.drum, MAX_PARTS)
    steps_per_quarter = vocabulary.steps_per_quarter
    velocity = np.arange(128)
    return EncodingTables(
        velocity=(vocabulary.velocity.start + vocabulary.velocity_level(velocity)) << TOKEN_BITS,
        duration=_duration_tokens(vocabulary),
        steps=vocabulary.durations,
        first=first.ravel(),
        beat=np.repeat(vocabulary.beat, steps_per_quarter).astype(np.uint16),
        subbeat=np.tile(vocabulary.subbeat, MAX_BEATS).astype(np.uint16),
        first_duration=vocabulary.duration.start,
        exact_steps=steps_per_quarter // 2,
    )


def _duration_tokens(vocabulary: Vocabulary) -> Int64[np.ndarray, " lengths"]:
    """DUR for 0, 1, .. `exact_steps` grid steps, then for 1, 2, .. half steps, rounded up.

    The middle between two durations is a whole number of half steps, so that rounding up to half
    steps does not change which of them is nearer; in the middle it is the shorter one.
    """
    exact = vocabulary.steps_per_quarter // 2
    middles = vocabulary.durations[1:] + vocabulary.durations[:-1]
    half_steps = np.arange(1, 2 * vocabulary.durations[-1] + 1)
    index = [np.arange(exact + 1).clip(1) - 1, np.searchsorted(middles, half_steps)]
    return vocabulary.duration.start + np.concatenate(index)


class DecodingTables(NamedTuple):
    """What decoding looks up; all but the last by token id."""

    types: UInt8[np.ndarray, " vocab"]
    values: Int64[np.ndarray, " vocab"]
    """Index in the type's range; NUM and DEN as numbers, SUBBEAT and BEAT in grid steps."""
    bits: Int64[np.ndarray, " vocab"]
    """What the token adds to the key of its event."""
    opens: Bool[np.ndarray, " vocab"]
    """Whether the token is the first one of an event: BAR, TEMPO, PED, PITCH or DRUM."""
    has_part: Bool[np.ndarray, " vocab"]
    """Whether it is PED, PITCH or DRUM."""
    event_types: UInt8[np.ndarray, " vocab"]
    """The type of the event that the token opens; 0, that of a cut, for all others."""
    pitches: Int16[np.ndarray, " vocab"]
    """PITCH or DRUM -> pitch, TEMPO -> its index; 0 for all others."""
    second_tokens: Int16[np.ndarray, " vocab"]
    """The id itself for VEL and TEMPO_FRACTION, 0 for all others."""
    third_tokens: Int16[np.ndarray, " vocab"]
    """The id itself for DUR, 0 for all others."""
    moves: Bool[np.ndarray, " vocab"]
    """Whether the token is BEAT, SUBBEAT or BAR."""
    in_skeleton: Bool[np.ndarray, " vocab"]
    """Whether it is neither VEL nor DUR."""
    type_bits: UInt32[np.ndarray, " vocab"]
    """1 << type."""
    follower_bits: UInt32[np.ndarray, " vocab"]
    """The types that may follow, as bits."""
    durations: Int32[np.ndarray, " vocab"]
    """DUR -> grid steps."""
    velocities: Int8[np.ndarray, " vocab"]
    """VEL -> velocity."""
    followers: Bool[np.ndarray, " pairs"]
    """Whether a type may be followed by another, at index `32 * type + other`."""


@lru_cache
def decoding_tables(vocabulary: Vocabulary) -> DecodingTables:
    """Return the tables of a vocabulary, made once."""
    values = vocabulary.values.astype(np.int64)
    values[_slice(vocabulary.beat)] *= vocabulary.steps_per_quarter
    values[_slice(vocabulary.numerator)] += 1
    values[_slice(vocabulary.denominator)] = DENOMINATORS
    durations = np.zeros(vocabulary.size, dtype=np.int32)
    durations[_slice(vocabulary.duration)] = vocabulary.durations
    velocities = np.zeros(vocabulary.size, dtype=np.int8)
    levels = np.arange(vocabulary.velocities)
    velocities[_slice(vocabulary.velocity)] = vocabulary.velocity_value(levels)
    followers = np.zeros((32, 32), dtype=bool)
    for token_type, following in FOLLOWERS.items():
        followers[token_type, list(following)] = True
    types, bits = vocabulary.types, _key_bits(vocabulary)
    ids = np.arange(vocabulary.size, dtype=np.int16)
    has_part = np.isin(types, (TokenType.PED, TokenType.PITCH, TokenType.DRUM))
    return DecodingTables(
        types=types.astype(np.uint8),
        values=values,
        bits=bits,
        opens=has_part | np.isin(types, (TokenType.BAR, TokenType.TEMPO)),
        has_part=has_part,
        event_types=((bits >> TYPE_SHIFT) & TYPE_MASK).astype(np.uint8),
        pitches=((bits >> PITCH_SHIFT) & TEMPO_MASK).astype(np.int16),
        second_tokens=ids * np.isin(types, (TokenType.VEL, TokenType.TEMPO_FRACTION)),
        third_tokens=ids * (types == TokenType.DUR),
        moves=np.isin(types, (TokenType.BEAT, TokenType.SUBBEAT, TokenType.BAR)),
        in_skeleton=~np.isin(types, (TokenType.VEL, TokenType.DUR)),
        type_bits=np.uint32(1) << types.astype(np.uint32),
        follower_bits=(followers << np.arange(32, dtype=np.uint32)).sum(1, dtype=np.uint32)[types],
        durations=durations,
        velocities=velocities,
        followers=followers.ravel(),
    )


def _key_bits(vocabulary: Vocabulary) -> Int64[np.ndarray, " vocab"]:
    """What each token adds to its event's key."""
    bits = np.zeros(vocabulary.size, dtype=np.int64)
    bits[vocabulary.BAR] = EventType.BAR << TYPE_SHIFT
    bits[list(vocabulary.pedal)] = (
        EventType.PEDAL_UP << TYPE_SHIFT,
        EventType.PEDAL_DOWN << TYPE_SHIFT,
    )
    for event_type, ids in (
        (EventType.TEMPO, vocabulary.tempo),
        (EventType.NOTE, vocabulary.pitch),
        (EventType.DRUM, vocabulary.drum),
    ):
        bits[_slice(ids)] = (event_type << TYPE_SHIFT) | (np.arange(len(ids)) << PITCH_SHIFT)
    for ids in (vocabulary.tempo_fraction, vocabulary.numerator, vocabulary.velocity):
        bits[_slice(ids)] = np.array(ids) << TOKEN_BITS
    for ids in (vocabulary.denominator, vocabulary.duration):
        bits[_slice(ids)] = ids
    return bits


def _slice(ids: range) -> slice:
    return slice(ids.start, ids.stop)


@cache
def tempo_microseconds_table() -> Int32[np.ndarray, " steps"]:
    """Microseconds per quarter of every tempo, from the slowest in 1/256 quarters a minute."""
    steps = np.arange(SLOWEST_TEMPO * TEMPO_FRACTIONS, (FASTEST_TEMPO + 1) * TEMPO_FRACTIONS)
    return tempo_microseconds(steps).astype(np.int32)
