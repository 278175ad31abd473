"""A score's notes, pedals and tempos as event keys on the grid of the vocabulary.

Absolute positions are rounded to the grid before they are subtracted, so that no error accumulates.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Integer

from rwkv_music.errors import InputError
from rwkv_music.score.instruments import PEDAL_DOWN_VALUE, SUSTAIN_PEDAL
from rwkv_music.tokenizer.events import (
    DEFAULT_TEMPO,
    PART_SHIFT,
    PITCH_SHIFT,
    TIME_SHIFT,
    TOKEN_BITS,
    TYPE_SHIFT,
    EventType,
    Keys,
)
from rwkv_music.tokenizer.parts import Part
from rwkv_music.tokenizer.tables import EncodingTables, encoding_tables
from rwkv_music.tokenizer.vocabulary import (
    DRUM_PROGRAM,
    FASTEST_TEMPO_STEPS,
    SLOWEST_TEMPO,
    SLOWEST_TEMPO_STEPS,
    TEMPO_FRACTIONS,
    Vocabulary,
    tempo_steps,
)

if TYPE_CHECKING:
    import symusic

Array = Int64[np.ndarray, " _"]
_TEMPO = int(EventType.TEMPO) << TYPE_SHIFT
_NOTE = int(EventType.NOTE) << TYPE_SHIFT
_DRUM = int(EventType.DRUM) << TYPE_SHIFT
_UP = int(EventType.PEDAL_UP) << TYPE_SHIFT
_DOWN = int(EventType.PEDAL_DOWN) << TYPE_SHIFT
_PART_IN_MOMENT = 32
_TIME_IN_MOMENT = (1 << _PART_IN_MOMENT) - 1
_NONE = np.zeros(0, dtype=np.int64)
# As arrays: making one of a list costs more than all else that is done with it.
_FIRST_TIME = np.zeros(1, dtype=np.int64)
_FIRST_TEMPO = np.array([DEFAULT_TEMPO])
_TRUE = np.ones(1, dtype=bool)


class Grid:
    """Rounds ticks of a score to steps of the grid."""

    def __init__(self, ticks_per_quarter: int, steps_per_quarter: int) -> None:
        if ticks_per_quarter < 1:
            raise InputError(f"ticks per quarter must be at least 1, got {ticks_per_quarter}")
        self.ticks, self.steps = ticks_per_quarter, steps_per_quarter

    def round(self, ticks: Array) -> Array:
        """Return the nearest steps; halfway goes up."""
        if self.ticks == self.steps:
            return ticks
        steps: Array = ticks * (2 * self.steps)
        steps += self.ticks
        steps //= 2 * self.ticks
        return steps

    def round_one(self, ticks: int) -> int:
        """Return the nearest step; halfway goes up."""
        return (2 * ticks * self.steps + self.ticks) // (2 * self.ticks)


class NoteColumns(NamedTuple):
    """Every note of a score, part by part."""

    ticks: Integer[np.ndarray, "2 notes"]
    """Times and durations."""
    values: Integer[np.ndarray, "2 notes"]
    """Pitches and velocities."""
    parts: Int64[np.ndarray, "2 parts"]
    """Type and index of each part as bits of a key, and its number of notes."""

    @classmethod
    def of(cls, parts: list[Part]) -> "NoteColumns":
        """Collect the notes of all parts."""
        tables = [part.track.notes.numpy() for part in parts]
        bits = [
            (_DRUM if part.program == DRUM_PROGRAM else _NOTE) + (index << PART_SHIFT)
            for index, part in enumerate(parts)
        ]
        return cls(
            _two_rows(tables, "time", "duration"),
            _two_rows(tables, "pitch", "velocity"),
            np.array([bits, [len(table["time"]) for table in tables]]),
        )


def _two_rows(
    tables: list[dict[str, Integer[np.ndarray, " _"]]], first: str, second: str
) -> Integer[np.ndarray, "2 _"]:
    """Return two columns of all tables as the rows of one array."""
    columns = [table[first] for table in tables] + [table[second] for table in tables]
    return np.concatenate(columns).reshape(2, -1)


def note_keys(notes: NoteColumns, grid: Grid, vocabulary: Vocabulary) -> tuple[Keys, int, int]:
    """Return the keys of all notes, the last onset and the last offset, in grid steps.

    Raises:
        InputError: If a note's time, duration, pitch or velocity is below 0.
    """
    tables = encoding_tables(vocabulary)
    time, duration = notes.ticks.astype(np.int64)
    pitch, velocity = notes.values.astype(np.int64)
    if (time | duration | pitch | velocity).min() < 0:
        _refuse_negative(time, duration, pitch, velocity)
    onsets = grid.round(time)
    tokens = _durations(time, duration, onsets, grid, tables)
    keys = onsets << TIME_SHIFT
    keys |= notes.parts[0].repeat(notes.parts[1])
    pitch <<= PITCH_SHIFT
    keys |= pitch
    keys |= tables.velocity.take(velocity)
    keys |= tokens
    offsets = tables.steps.take(tokens - tables.first_duration)
    offsets += onsets
    return keys, int(onsets.max()), int(offsets.max())


def _refuse_negative(time: Array, duration: Array, pitch: Array, velocity: Array) -> None:
    if time.min() < 0:
        raise InputError(
            f"a note begins at tick {time.min()}, the first tick is 0: shift the score"
        )
    for name, column in (("duration", duration), ("pitch", pitch), ("velocity", velocity)):
        if column.min() < 0:
            raise InputError(
                f"a note has the {name} {column.min()}, the lowest is 0: correct the score"
            )


def _durations(
    time: Array, duration: Array, onsets: Array, grid: Grid, tables: EncodingTables
) -> Array:
    """Return the DUR of every note.

    Up to half a quarter, offsets are rounded to the grid like onsets, so that notes that touched
    still touch. Longer durations have larger steps, and the nearest to the duration itself is
    taken.
    """
    exact = tables.exact_steps
    length = grid.round(time + duration)
    length -= onsets
    half_steps = duration * (2 * grid.steps)
    half_steps += grid.ticks * (exact + 1) - 1
    half_steps //= grid.ticks
    np.copyto(length, half_steps, where=length > exact)
    return tables.duration.take(length, mode="clip")


class ControlColumns(NamedTuple):
    """Controller messages of a score, part by part."""

    values: Integer[np.ndarray, "2 messages"]
    """Controller numbers and values."""
    time: Integer[np.ndarray, " messages"]
    parts: Int64[np.ndarray, "2 parts"]
    """Index of each part with messages as bits of a key, and its number of messages."""

    @classmethod
    def of(cls, parts: list[Part]) -> "ControlColumns":
        """Collect the messages of all parts."""
        indices = [index for index, part in enumerate(parts) if len(part.track.controls)]
        if not indices:
            return _NO_CONTROLS
        tables = [parts[index].track.controls.numpy() for index in indices]
        times = [table["time"] for table in tables]
        bits = [index << PART_SHIFT for index in indices]
        return cls(
            _two_rows(tables, "number", "value"),
            np.concatenate(times),
            np.array([bits, list(map(len, times))]),
        )


_NO_CONTROLS = ControlColumns(
    np.zeros((2, 0), dtype=np.uint8), np.zeros(0, dtype=np.int32), np.zeros((2, 0), dtype=np.int64)
)


def pedal_keys(controls: ControlColumns, grid: Grid) -> Keys:
    """Return the keys of all switches of the sustain pedal.

    A message that leaves the pedal as it is switches nothing. A moment can hold a lift and a press
    after it: a lift that follows a press in its own grid step moves to the next one, and later
    switches move as far as they must. Of more than three switches in one step an even number is
    left out.

    Raises:
        InputError: If a pedal moves before tick 0.
    """
    controllers, values = controls.values
    sustain = (controllers == SUSTAIN_PEDAL).nonzero()[0]
    if not len(sustain):
        return _NONE
    time = controls.time.take(sustain).astype(np.int64)
    if time.min() < 0:
        raise InputError(
            f"a pedal moves at tick {time.min()}, the first tick is 0: shift the score"
        )
    parts = controls.parts[0] >> PART_SHIFT
    time |= (parts << _PART_IN_MOMENT).repeat(controls.parts[1]).take(sustain)
    is_down = values.take(sustain) >= PEDAL_DOWN_VALUE
    if (time[1:] < time[:-1]).any():
        order = time.argsort(kind="stable")
        time, is_down = time[order], is_down[order]
    return _switch_keys(time, is_down, grid)


def _switch_keys(moments: Array, is_down: Bool[np.ndarray, " _"], grid: Grid) -> Keys:
    """Return the keys of switches.

    Args:
        moments: Part and time of each message, sorted.
        is_down: Whether the pedal is down from there on.
        grid: Of the score.
    """
    parts = moments >> _PART_IN_MOMENT
    is_switch = is_down.copy()
    is_switch[1:] ^= is_down[:-1] & (parts[1:] == parts[:-1])
    switches = is_switch.nonzero()[0]
    parts, is_down = parts.take(switches), is_down.take(switches)
    keys = grid.round(moments.take(switches) & _TIME_IN_MOMENT) << TIME_SHIFT
    keys |= parts << PART_SHIFT
    coincides = keys[1:] == keys[:-1]
    if coincides.any():
        return _coinciding_switches(keys, is_down, coincides, parts)
    keys += np.where(is_down, _DOWN, _UP)
    return keys


def _coinciding_switches(
    keys: Keys, is_down: Bool[np.ndarray, " _"], coincides: Bool[np.ndarray, " _"], parts: Array
) -> Keys:
    """Return the keys of switches of which some have the same time and part.

    Args:
        keys: Time and part of each switch.
        is_down: Its direction; those of one part alternate and begin with a press.
        coincides: Whether a switch has the time and part of the one before it.
        parts: The part of each.
    """
    first = np.flatnonzero(np.concatenate([[True], ~coincides]))
    length = np.diff(first, append=len(keys))
    index = np.arange(len(keys)) - first.repeat(length)
    is_kept = index < (2 + length % 2).repeat(length)
    keys, is_lift, parts = keys[is_kept], ~is_down[is_kept], parts[is_kept]
    # time = max(time, time before + 1 for a lift), part by part, all at once.
    lifts = is_lift.cumsum()
    offset = parts << _PART_IN_MOMENT
    time = np.maximum.accumulate((keys >> TIME_SHIFT) + offset - lifts) - offset + lifts
    kept: Keys = (time << TIME_SHIFT) + (parts << PART_SHIFT) + np.where(is_lift, _UP, _DOWN)
    return kept


def tempo_changes(score: "symusic.Score", grid: Grid) -> tuple[int, Array, Array]:
    """Return the tempo at 0, and the times and values of its changes.

    Tempos are in 1/256 quarters per minute.
    """
    tempos = score.tempos
    if not len(tempos):
        return DEFAULT_TEMPO, _NONE, _NONE
    if len(tempos) == 1 and tempos[0].time <= 0:
        return _tempo_steps(tempos[0].mspq), _NONE, _NONE
    table = tempos.numpy()
    times = table["time"]
    values = tempo_steps(table["mspq"].astype(np.int64))
    if (times[1:] < times[:-1]).any():
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[order]
    times = grid.round(np.concatenate([_FIRST_TIME, times], dtype=np.int64))
    values = np.concatenate([_FIRST_TEMPO, values])
    # Of several at one moment the last one counts, and one that repeats the tempo is left out.
    counts = np.concatenate([times[1:] != times[:-1], _TRUE])
    times, values = times[counts], values[counts]
    changes = (values[1:] != values[:-1]).nonzero()[0] + 1
    return int(values[0]), times[changes], values[changes]


def _tempo_steps(microseconds: int) -> int:
    """Return what `tempo_steps` does, for one tempo and faster."""
    steps = round(60_000_000 * TEMPO_FRACTIONS / max(microseconds, 1))
    return min(max(steps, SLOWEST_TEMPO_STEPS), FASTEST_TEMPO_STEPS)


def tempo_keys(times: Array, values: Array, vocabulary: Vocabulary) -> Keys:
    """Return the keys of tempo changes."""
    if not len(times):
        return times
    whole, fraction = np.divmod(values, TEMPO_FRACTIONS)
    keys = times << TIME_SHIFT
    keys += (whole << PITCH_SHIFT) + (_TEMPO - (SLOWEST_TEMPO << PITCH_SHIFT))
    keys |= ((vocabulary.tempo_fraction.start + fraction) * (fraction > 0)) << TOKEN_BITS
    return keys
