"""Look-up tables of one vocabulary, and the 64-bit keys in which events are sorted.

Every event of a score is one key; the order of keys is the order of the stream:

    time 24 bits | rank 3 | slot 5 | pitch 7 | second token 12 | third token 12

The first token of an event follows from rank, slot and pitch. A tempo keeps its whole part in the
twelve bits of slot and pitch; the second and third tokens are ids as they will be written, 0 where
there is none.
"""

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int8, Int32, Int64, UInt8, UInt16

from rwkv_music.tokenizer.grammar import FOLLOWERS
from rwkv_music.tokenizer.vocabulary import (
    DENOMINATORS,
    FASTEST_TEMPO,
    MAX_BEATS,
    SLOWEST_TEMPO,
    TEMPO_FRACTIONS,
    Vocabulary,
    tempo_microseconds,
)

# Ranks of what can stand at one moment. A cut belongs to the bar before the bar line; drums are
# the last slots, so that notes come by slot.
CUT, BAR, TEMPO, PEDAL_UP, PEDAL_DOWN, NOTE, DRUM = range(7)

TOKEN_BITS = 12
PITCH_SHIFT = 2 * TOKEN_BITS
PART_SHIFT = PITCH_SHIFT + 7
RANK_SHIFT = PART_SHIFT + 5
TIME_SHIFT = RANK_SHIFT + 3
TOKEN_MASK = (1 << TOKEN_BITS) - 1
FIRST_MASK = (1 << (TIME_SHIFT - PITCH_SHIFT)) - 1
LAST_TIME = (1 << (63 - TIME_SHIFT)) - 1


class EncodingTables(NamedTuple):
    """What the encoder looks up."""

    first: UInt16[np.ndarray, " codes"]
    """Rank, slot and pitch -> the event's first token; 0 for a cut."""
    beat: UInt16[np.ndarray, " steps"]
    """Grid steps since the bar line -> BEAT."""
    sub: UInt16[np.ndarray, " steps"]
    """Grid steps since the bar line -> SUBBEAT."""
    velocity: Int64[np.ndarray, " velocities"]
    """Velocity -> VEL, at its place in a key."""
    duration: Int64[np.ndarray, " lengths"]
    """A length as `_duration_tokens` counts it -> DUR."""
    lengths: Int64[np.ndarray, " durations"]
    """Place of a DUR in its range -> grid steps."""
    first_duration: int
    """The first DUR."""
    exact_steps: int
    """Up to this length, half a quarter, every whole number of grid steps has a DUR."""


@lru_cache
def encoding_tables(vocabulary: Vocabulary) -> EncodingTables:
    """Made once for a vocabulary."""
    first = np.zeros((7, 1 << (RANK_SHIFT - PITCH_SHIFT)), dtype=np.uint16)
    first[BAR] = vocabulary.BAR
    first[TEMPO, : len(vocabulary.tempo)] = vocabulary.tempo
    first[PEDAL_UP], first[PEDAL_DOWN] = vocabulary.pedal
    first[NOTE] = np.tile(vocabulary.pitch, 32)
    first[DRUM] = np.tile(vocabulary.drum, 32)
    grid = vocabulary.steps_per_quarter
    velocity = np.arange(128)
    return EncodingTables(
        first=first.ravel(),
        beat=np.repeat(vocabulary.beat, grid).astype(np.uint16),
        sub=np.tile(vocabulary.subbeat, MAX_BEATS).astype(np.uint16),
        velocity=(vocabulary.velocity.start + vocabulary.velocity_level(velocity)) << TOKEN_BITS,
        duration=_duration_tokens(vocabulary),
        lengths=vocabulary.durations,
        first_duration=vocabulary.duration.start,
        exact_steps=grid // 2,
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
    """What the decoder looks up; all but the last two by id."""

    kinds: UInt8[np.ndarray, " vocab"]
    values: Int64[np.ndarray, " vocab"]
    """Index in the type's range; NUM and DEN as numbers, SUBBEAT and BEAT in grid steps."""
    durations: Int32[np.ndarray, " vocab"]
    """DUR -> grid steps."""
    pitches: Int8[np.ndarray, " vocab"]
    """PITCH or DRUM -> pitch."""
    velocities: Int8[np.ndarray, " vocab"]
    """VEL -> velocity."""
    follows: Bool[np.ndarray, " pairs"]
    """Whether a kind may be followed by another, at place `32 * kind + other`."""


@lru_cache
def decoding_tables(vocabulary: Vocabulary) -> DecodingTables:
    """Made once for a vocabulary."""
    size = vocabulary.size
    values = vocabulary.values.astype(np.int64)
    values[vocabulary.beat.start : vocabulary.beat.stop] *= vocabulary.steps_per_quarter
    values[vocabulary.numerator.start : vocabulary.numerator.stop] += 1
    values[vocabulary.denominator.start : vocabulary.denominator.stop] = DENOMINATORS
    durations = np.zeros(size, dtype=np.int32)
    durations[vocabulary.duration.start : vocabulary.duration.stop] = vocabulary.durations
    pitches = np.zeros(size, dtype=np.int8)
    for span in (vocabulary.pitch, vocabulary.drum):
        pitches[span.start : span.stop] = np.arange(128)
    velocities = np.zeros(size, dtype=np.int8)
    levels = np.arange(vocabulary.velocities)
    velocities[levels + vocabulary.velocity.start] = vocabulary.velocity_value(levels)
    follows = np.zeros((32, 32), dtype=bool)
    for kind, followers in FOLLOWERS.items():
        follows[kind, list(followers)] = True
    return DecodingTables(
        kinds=vocabulary.types.astype(np.uint8),
        values=values,
        durations=durations,
        pitches=pitches,
        velocities=velocities,
        follows=follows.ravel(),
    )


@cache
def tempo_microseconds_table() -> Int32[np.ndarray, " steps"]:
    """Microseconds per quarter of every tempo, from the slowest in 1/256 quarters a minute."""
    steps = np.arange(SLOWEST_TEMPO * TEMPO_FRACTIONS, (FASTEST_TEMPO + 1) * TEMPO_FRACTIONS)
    return tempo_microseconds(steps).astype(np.int32)
