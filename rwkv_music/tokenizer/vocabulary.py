"""The token ids and what they mean.

Each token type has a contiguous range of ids; `print(Vocabulary())` shows them all.
"""

from enum import IntEnum
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int, Integer

from rwkv_music.tokenizer.tokenizer_settings import MAX_PARTS, TokenizerSettings

DRUM_PROGRAM = 128
SLOWEST_TEMPO = 8
FASTEST_TEMPO = 511
TEMPO_FRACTIONS = 256
SLOWEST_TEMPO_STEPS = SLOWEST_TEMPO * TEMPO_FRACTIONS
FASTEST_TEMPO_STEPS = FASTEST_TEMPO * TEMPO_FRACTIONS + TEMPO_FRACTIONS - 1
"""The fastest tempo that has a token, in 1/256 quarters per minute."""
MAX_NUMERATOR = 128
DENOMINATORS = (1, 2, 4, 8, 16, 32, 64)
MAX_BEATS = 128
LONGEST_NOTE_QUARTERS = 256
_SPECIALS = 16
_ROUND_UP_TO = 64
_PITCH_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


class TokenType(IntEnum):
    """The types of token, in the order of their ids."""

    PAD = 0
    BOS = 1
    EOS = 2
    BAR = 3
    SPARE = 4
    TEMPO = 5
    TEMPO_FRACTION = 6
    NUM = 7
    DEN = 8
    PART = 9
    PROG = 10
    BEAT = 11
    SUBBEAT = 12
    PITCH = 13
    DRUM = 14
    VEL = 15
    DUR = 16
    PED = 17
    SUFFIX = 18
    """The bars that follow stand behind the hole."""
    PREFIX = 19
    """The bars that follow stand in front of the hole."""
    FILL = 20
    """The hole begins; its value is the number of bars, from 1."""
    GIVEN = 21
    """The events up to WRITE are given."""
    WRITE = 22
    """The events from here to the end of the bar are to be written."""
    DENSITY = 23
    POLYPHONY = 24
    REGISTER = 25
    LEAPS = 26
    SIMILARITY = 27
    KEY = 28


MAX_HOLE_BARS = 8
CONTROL_LEVELS = {
    TokenType.DENSITY: 8,
    TokenType.POLYPHONY: 6,
    TokenType.REGISTER: 8,
    TokenType.LEAPS: 5,
    TokenType.SIMILARITY: 3,
    TokenType.KEY: 24,
}
"""Values of each control token; `rwkv_music.tokenizer.holes.control_levels` says what they mean."""

PART_CONTROLS = (
    TokenType.DENSITY, TokenType.POLYPHONY, TokenType.REGISTER, TokenType.LEAPS,
)  # fmt: skip
"""The controls that may also be stated for one part."""
_HOLE_RANGES = {
    TokenType.SUFFIX: range(4, 5),
    TokenType.PREFIX: range(5, 6),
    TokenType.FILL: range(6, 6 + MAX_HOLE_BARS),
    TokenType.GIVEN: range(14, 15),
    TokenType.WRITE: range(15, 16),
}


class Vocabulary:
    """Id ranges for one choice of grid and velocity resolution.

    Args:
        steps_per_quarter: Grid steps in a quarter note: 48, 96, 192 or 480.
        velocities: Velocity levels: 32 (steps of 4), 64 (steps of 2) or 128 (exact).
        max_parts: Parts a piece may have, 1 to 32.

    Raises:
        InputError: If a setting has another value.

    Example:
        >>> vocabulary = Vocabulary()
        >>> vocabulary.num_used, vocabulary.size
        (2048, 2048)
        >>> vocabulary.describe(vocabulary.pitch[60])
        'PITCH C4 (60)'
    """

    PAD = int(TokenType.PAD)
    BOS = int(TokenType.BOS)
    EOS = int(TokenType.EOS)
    BAR = int(TokenType.BAR)
    SUFFIX, PREFIX = 4, 5
    GIVEN, WRITE = 14, 15
    has_controls: bool
    """Whether the ids that rounding up to a multiple of 64 leaves free hold the control tokens, as
    they do with the default settings."""

    def __init__(
        self, *, steps_per_quarter: int = 96, velocities: int = 32, max_parts: int = MAX_PARTS
    ) -> None:
        TokenizerSettings(
            steps_per_quarter=steps_per_quarter, velocities=velocities, max_parts=max_parts
        )
        self.steps_per_quarter = steps_per_quarter
        self.velocities = velocities
        self.max_parts = max_parts
        self._settings = (steps_per_quarter, velocities, max_parts)
        self.durations = _duration_table(steps_per_quarter)
        sizes = {
            TokenType.TEMPO: FASTEST_TEMPO - SLOWEST_TEMPO + 1,
            TokenType.TEMPO_FRACTION: TEMPO_FRACTIONS,
            TokenType.NUM: MAX_NUMERATOR,
            TokenType.DEN: len(DENOMINATORS),
            TokenType.PART: max_parts,
            TokenType.PROG: DRUM_PROGRAM + 1,
            TokenType.BEAT: MAX_BEATS,
            TokenType.SUBBEAT: steps_per_quarter,
            TokenType.PITCH: 128,
            TokenType.DRUM: 128,
            TokenType.VEL: velocities,
            TokenType.DUR: len(self.durations),
            TokenType.PED: 2,
        }
        start = _SPECIALS
        self.ranges: dict[TokenType, range] = dict(_HOLE_RANGES)
        for token_type, size in sizes.items():
            self.ranges[token_type] = range(start, start + size)
            start += size
        self.size = -(-start // _ROUND_UP_TO) * _ROUND_UP_TO
        self.has_controls = start + sum(CONTROL_LEVELS.values()) <= self.size
        if self.has_controls:
            for token_type, size in CONTROL_LEVELS.items():
                self.ranges[token_type] = range(start, start + size)
                start += size
        self.num_used = start
        self.tempo = self.ranges[TokenType.TEMPO]
        self.tempo_fraction = self.ranges[TokenType.TEMPO_FRACTION]
        self.numerator = self.ranges[TokenType.NUM]
        self.denominator = self.ranges[TokenType.DEN]
        self.part = self.ranges[TokenType.PART]
        self.program = self.ranges[TokenType.PROG]
        self.beat = self.ranges[TokenType.BEAT]
        self.subbeat = self.ranges[TokenType.SUBBEAT]
        self.pitch = self.ranges[TokenType.PITCH]
        self.drum = self.ranges[TokenType.DRUM]
        self.velocity = self.ranges[TokenType.VEL]
        self.duration = self.ranges[TokenType.DUR]
        self.pedal = self.ranges[TokenType.PED]
        self.fill = self.ranges[TokenType.FILL]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._settings == other._settings

    def __hash__(self) -> int:
        return hash(self._settings)

    @cached_property
    def types(self) -> Int[np.ndarray, " vocab"]:
        """The type of every id."""
        table = np.full(self.size, TokenType.SPARE, dtype=np.int16)
        table[: TokenType.SPARE] = np.arange(TokenType.SPARE)
        for token_type, span in self.ranges.items():
            table[span.start : span.stop] = token_type
        return table

    @cached_property
    def values(self) -> Int[np.ndarray, " vocab"]:
        """Index of each id in the range of its type."""
        table = np.zeros(self.size, dtype=np.int32)
        for span in self.ranges.values():
            table[span.start : span.stop] = np.arange(len(span))
        return table

    @cached_property
    def types_and_values(self) -> list[tuple[TokenType, int]]:
        """Type of every id, and its index in the range of that type."""
        pairs = zip(self.types.tolist(), self.values.tolist(), strict=True)
        return [(TokenType(token_type), value) for token_type, value in pairs]

    def types_of(self, ids: Integer[np.ndarray, " tokens"]) -> Integer[np.ndarray, " tokens"]:
        """Return the types of ids; an id beyond the vocabulary is SPARE."""
        known = np.asarray(ids, dtype=np.int64)
        is_beyond = known >= self.size
        types: Integer[np.ndarray, " tokens"] = self.types[np.where(is_beyond, 0, known)]
        return np.where(is_beyond, np.int16(TokenType.SPARE), types)

    @cached_property
    def exact_tempos(self) -> Bool[np.ndarray, "tempos fractions"]:
        """Which pairs (tempo, fraction) whole microseconds per quarter, as in MIDI, can represent.

        Above 484 quarters per minute two neighbouring fractions may have the same microseconds.
        """
        tempo = np.arange(SLOWEST_TEMPO, FASTEST_TEMPO + 1)[:, None]
        steps = tempo * TEMPO_FRACTIONS + np.arange(TEMPO_FRACTIONS)
        stored = tempo_steps(tempo_microseconds(steps))
        exact: Bool[np.ndarray, "tempos fractions"] = stored == steps
        return exact

    @cached_property
    def possible_tempos(self) -> Bool[np.ndarray, " tempos"]:
        """Which whole tempos have a fraction that MIDI can represent."""
        return np.asarray(self.exact_tempos.any(axis=1))

    def velocity_value(self, level: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
        """Return the MIDI velocity of a level: multiples of the step, 127 at most."""
        step = 128 // self.velocities
        velocity: Int[np.ndarray, "*shape"] = np.minimum(step * (level + 1), 127)
        return velocity

    def velocity_level(self, velocity: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
        """Return the level nearest to a MIDI velocity."""
        level: Int[np.ndarray, "*shape"] = self._nearest_levels[velocity]
        return level

    @cached_property
    def _nearest_levels(self) -> Int[np.ndarray, " velocities"]:
        """The nearest level to every MIDI velocity."""
        step = 128 // self.velocities
        return ((np.arange(128) + step // 2) // step).clip(1, self.velocities) - 1

    @property
    def num_velocities_used(self) -> int:
        """Number of levels in use: with 128 levels the last would repeat velocity 127."""
        return min(self.velocities, 127)

    def describe(self, token: int) -> str:
        """Return an id in words, for example "PITCH C4 (60)"."""
        token_type = TokenType(int(self.types_of(np.array([token]))[0]))
        span = self.ranges.get(token_type, range(0))
        if len(span) < 2:
            return token_type.name
        value = token - span.start
        return f"{token_type.name} {self._value_text(token_type, value)}"

    def _value_text(self, token_type: TokenType, value: int) -> str:
        texts = {
            TokenType.TEMPO: f"{SLOWEST_TEMPO + value}",
            TokenType.TEMPO_FRACTION: f"{value}/{TEMPO_FRACTIONS}",
            TokenType.NUM: f"{value + 1}",
            TokenType.DEN: f"{2**value}",
            TokenType.PROG: "drums" if value == DRUM_PROGRAM else f"{value}",
            TokenType.PITCH: f"{_PITCH_NAMES[value % 12]}{value // 12 - 1} ({value})",
            TokenType.VEL: f"{min((value + 1) * 128 // self.velocities, 127)}",
            TokenType.PED: "down" if value else "up",
            TokenType.FILL: f"{value + 1}",
            TokenType.KEY: f"{_PITCH_NAMES[value % 12]} {'minor' if value >= 12 else 'major'}",
        }
        if token_type is TokenType.DUR:
            return f"{self.durations[value]}/{self.steps_per_quarter}"
        return texts.get(token_type, f"{value}")

    def __str__(self) -> str:
        lines = ["  first    last  size  type", "      0       3     4  PAD BOS EOS BAR"]
        for span in self.ranges.values():
            first, last = self.describe(span.start), self.describe(span.stop - 1)
            ids = f"{span.start:7d} {span.stop - 1:7d} {len(span):5d}"
            name = f"{first} .. {last.partition(' ')[2]}" if len(span) > 1 else first
            lines.append(f"{ids}  {name}")
        lines.append(f"{self.num_used} ids in use, padded to {self.size}")
        return "\n".join(lines)


def tempo_microseconds(steps: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
    """Return microseconds per quarter of a tempo in 1/256 quarters per minute."""
    return np.rint(60_000_000 * TEMPO_FRACTIONS / steps).astype(np.int64)


def tempo_steps(microseconds: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
    """Return a tempo in 1/256 quarters per minute, clipped to the range of the vocabulary."""
    positive = np.maximum(microseconds, 1)
    steps = np.rint(60_000_000 * TEMPO_FRACTIONS / positive).astype(np.int64)
    clipped: Int[np.ndarray, "*shape"] = np.clip(steps, SLOWEST_TEMPO_STEPS, FASTEST_TEMPO_STEPS)
    return clipped


def _duration_table(steps_per_quarter: int) -> Int[np.ndarray, " durations"]:
    """Durations in grid steps: every step to half a quarter, then larger and larger steps."""
    bands = (
        (1, steps_per_quarter // 2),
        (2, 2 * steps_per_quarter),
        (4, 4 * steps_per_quarter),
        (steps_per_quarter // 8, 16 * steps_per_quarter),
        (steps_per_quarter // 2, 64 * steps_per_quarter),
        (4 * steps_per_quarter, LONGEST_NOTE_QUARTERS * steps_per_quarter),
    )
    table: list[int] = [0]
    for step, limit in bands:
        table += range(table[-1] + step, limit + 1, step)
    return np.array(table[1:], dtype=np.int64)
