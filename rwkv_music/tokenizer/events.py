"""A score's notes, pedals and tempos as sortable keys; see `tables` for their layout.

Absolute positions are rounded to the grid first, so that no error accumulates.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Integer

from rwkv_music.errors import InputError
from rwkv_music.score.instruments import SUSTAIN_PEDAL
from rwkv_music.tokenizer.compiled import Loops
from rwkv_music.tokenizer.parts import Part
from rwkv_music.tokenizer.tables import (
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
    EncodingTables,
)
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
Numbers = Integer[np.ndarray, " _"]
_DEFAULT_TEMPO = 120 * TEMPO_FRACTIONS
_TEMPO = TEMPO << RANK_SHIFT
_UP = PEDAL_UP << RANK_SHIFT
_DOWN = PEDAL_DOWN << RANK_SHIFT
_PART_IN_MOMENT = 32
_TIME_IN_MOMENT = (1 << _PART_IN_MOMENT) - 1
_NOTHING = np.zeros(0, dtype=np.int64)


class Grid:
    """Rounds ticks of the score to steps of the grid."""

    def __init__(self, ticks_per_quarter: int, steps_per_quarter: int) -> None:
        if ticks_per_quarter < 1:
            raise InputError(f"ticks per quarter must be at least 1, got {ticks_per_quarter}")
        self.ticks, self.steps = ticks_per_quarter, steps_per_quarter

    def round(self, ticks: Array) -> Array:
        """The nearest step; halfway goes up."""
        if self.ticks == self.steps:
            return ticks
        steps: Array = ticks * (2 * self.steps)
        steps += self.ticks
        steps //= 2 * self.ticks
        return steps

    def round_one(self, ticks: int) -> int:
        """The nearest step; halfway goes up."""
        return (2 * ticks * self.steps + self.ticks) // (2 * self.ticks)


class Columns(NamedTuple):
    """Every note of a score, part by part."""

    time: Numbers
    duration: Numbers
    pitch: Numbers
    velocity: Numbers
    places: Array
    """For each part, the bits of a key that say rank and slot."""
    counts: list[int]
    """Notes of each part."""


def note_columns(parts: list[Part]) -> Columns:
    """The notes of all parts."""
    tables = [part.track.notes.numpy() for part in parts]
    places = [
        ((DRUM if part.program == DRUM_PROGRAM else NOTE) << RANK_SHIFT) | (slot << PART_SHIFT)
        for slot, part in enumerate(parts)
    ]
    return Columns(
        np.concatenate([table["time"] for table in tables]),
        np.concatenate([table["duration"] for table in tables]),
        np.concatenate([table["pitch"] for table in tables]),
        np.concatenate([table["velocity"] for table in tables]),
        np.array(places),
        [len(table["time"]) for table in tables],
    )


def note_keys(
    columns: Columns, grid: Grid, tables: EncodingTables, loops: Loops | None
) -> tuple[Array, int, int]:
    """Keys of all notes, the last onset and the last offset, in grid steps.

    Raises:
        InputError: If a note's time, duration, pitch or velocity is below 0.
    """
    if loops:
        ends = np.array(columns.counts).cumsum()
        keys, onset, offset = loops.note_keys(
            *columns[:5], ends, grid.ticks, grid.steps, tables.velocity, tables.duration,
            tables.lengths, tables.first_duration, tables.exact_steps,
        )  # fmt: skip
        if len(keys):
            return keys, int(onset), int(offset)
    time, duration, pitch, velocity = (each.astype(np.int64) for each in columns[:4])
    if (time | duration | pitch | velocity).min() < 0:
        _refuse_below_zero(columns)
    onsets = grid.round(time)
    tokens = _durations(time, duration, onsets, grid, tables)
    keys = onsets << TIME_SHIFT
    keys |= columns.places.repeat(columns.counts)
    pitch <<= PITCH_SHIFT
    keys |= pitch
    keys |= tables.velocity.take(velocity)
    keys |= tokens
    offsets = tables.lengths.take(tokens - tables.first_duration)
    offsets += onsets
    return keys, int(onsets.max()), int(offsets.max())


def _refuse_below_zero(columns: Columns) -> None:
    if columns.time.min() < 0:
        raise InputError(
            f"a note begins at tick {columns.time.min()}, the first tick is 0: shift the score"
        )
    for name in ("duration", "pitch", "velocity"):
        lowest = getattr(columns, name).min()
        if lowest < 0:
            raise InputError(f"a note has the {name} {lowest}, the lowest is 0: correct the score")


def _durations(
    time: Array, duration: Array, onsets: Array, grid: Grid, tables: EncodingTables
) -> Array:
    """The DUR of every note.

    Up to half a quarter, offsets are rounded to the grid like onsets, so that what touched still
    touches. Beyond, DUR goes by larger steps, and the one nearest to the duration itself is taken.
    """
    exact = tables.exact_steps
    length = grid.round(time + duration)
    length -= onsets
    half_steps = duration * (2 * grid.steps)
    half_steps += grid.ticks * (exact + 1) - 1
    half_steps //= grid.ticks
    np.copyto(length, half_steps, where=length > exact)
    return tables.duration.take(length, mode="clip")


def pedal_keys(parts: list[Part], grid: Grid, loops: Loops | None) -> Array:
    """Keys of all switches of the sustain pedal.

    A message that leaves the pedal as it is switches nothing. A moment holds a lift and a press
    behind it: a lift that follows a press in its own grid step moves to the next one, and so do
    those behind it as far as they must. Of more than three switches in one step an even number is
    left out.

    Raises:
        InputError: If a pedal moves before tick 0.
    """
    slots = [slot for slot, part in enumerate(parts) if len(part.track.controls)]
    if not slots:
        return _NOTHING
    tables = [parts[slot].track.controls.numpy() for slot in slots]
    number = np.concatenate([table["number"] for table in tables])
    time = np.concatenate([table["time"] for table in tables])
    value = np.concatenate([table["value"] for table in tables])
    counts = [len(table["time"]) for table in tables]
    if loops:
        ends = np.array(counts).cumsum()
        keys: Array
        keys, is_done = loops.pedal_keys(
            number, time, value, np.array(slots), ends, grid.ticks, grid.steps
        )
        if is_done:
            return keys
    own = (number == SUSTAIN_PEDAL).nonzero()[0]
    if not len(own):
        return _NOTHING
    time = time.take(own).astype(np.int64)
    if time.min() < 0:
        raise InputError(
            f"a pedal moves at tick {time.min()}, the first tick is 0: shift the score"
        )
    time |= (np.array(slots) << _PART_IN_MOMENT).repeat(counts).take(own)
    is_down = value.take(own) >= 64
    if (time[1:] < time[:-1]).any():
        order = time.argsort(kind="stable")
        time, is_down = time[order], is_down[order]
    return _switch_keys(time, is_down, grid)


def _switch_keys(moments: Array, is_down: Bool[np.ndarray, " _"], grid: Grid) -> Array:
    """Keys of switches, from messages sorted by part and time; moments hold both."""
    slots = moments >> _PART_IN_MOMENT
    is_switch = is_down.copy()
    is_switch[1:] ^= is_down[:-1] & (slots[1:] == slots[:-1])
    switches = is_switch.nonzero()[0]
    slots, is_down = slots.take(switches), is_down.take(switches)
    keys = grid.round(moments.take(switches) & _TIME_IN_MOMENT) << TIME_SHIFT
    keys |= slots << PART_SHIFT
    together = keys[1:] == keys[:-1]
    if together.any():
        return _merged_switches(keys, is_down, together, slots)
    keys += np.where(is_down, _DOWN, _UP)
    return keys


def _merged_switches(
    keys: Array, is_down: Bool[np.ndarray, " _"], together: Bool[np.ndarray, " _"], slots: Array
) -> Array:
    """Keys of switches of which some fall together.

    Args:
        keys: Time and slot of each switch.
        is_down: Which way it goes; those of one part alternate and begin with a press.
        together: Whether a switch has the time and slot of the one before it.
        slots: The slot of each.
    """
    first = np.flatnonzero(np.concatenate([[True], ~together]))
    length = np.diff(first, append=len(keys))
    place = np.arange(len(keys)) - first.repeat(length)
    is_kept = place < (2 + length % 2).repeat(length)
    keys, is_lift, slots = keys[is_kept], ~is_down[is_kept], slots[is_kept]
    # time = max(time, time before + 1 for a lift), part by part, all at once.
    lifts = is_lift.cumsum()
    of_part = slots << _PART_IN_MOMENT
    time = np.maximum.accumulate((keys >> TIME_SHIFT) + of_part - lifts) - of_part + lifts
    kept: Array = (time << TIME_SHIFT) + (slots << PART_SHIFT) + np.where(is_lift, _UP, _DOWN)
    return kept


def tempo_changes(score: "symusic.Score", grid: Grid) -> tuple[int, Array, Array]:
    """The tempo at 0, and the times and values of its changes, in 1/256 quarters a minute."""
    tempos = score.tempos
    if not len(tempos):
        return _DEFAULT_TEMPO, _NOTHING, _NOTHING
    if len(tempos) == 1 and tempos[0].time <= 0:
        return _one_tempo(tempos[0].mspq), _NOTHING, _NOTHING
    table = tempos.numpy()
    times = table["time"]
    values = tempo_steps(table["mspq"].astype(np.int64))
    if (times[1:] < times[:-1]).any():
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[order]
    times = np.concatenate([[0], grid.round(times.astype(np.int64))])
    values = np.concatenate([[_DEFAULT_TEMPO], values])
    # Of several at one moment the last one counts, and one that repeats the tempo is none.
    counts = np.append(times[1:] != times[:-1], True).nonzero()[0]
    times, values = times[counts], values[counts]
    changes = (values[1:] != values[:-1]).nonzero()[0] + 1
    return int(values[0]), times[changes], values[changes]


def _one_tempo(microseconds: int) -> int:
    """What `tempo_steps` says of one tempo, at once."""
    steps = round(60_000_000 * TEMPO_FRACTIONS / max(microseconds, 1))
    return min(max(steps, SLOWEST_TEMPO_STEPS), FASTEST_TEMPO_STEPS)


def tempo_keys(times: Array, values: Array, vocabulary: Vocabulary) -> Array:
    """Keys of tempo changes."""
    if not len(times):
        return times
    whole, fraction = np.divmod(values, TEMPO_FRACTIONS)
    keys = times << TIME_SHIFT
    keys += (whole << PITCH_SHIFT) + (_TEMPO - (SLOWEST_TEMPO << PITCH_SHIFT))
    keys |= ((vocabulary.tempo_fraction.start + fraction) * (fraction > 0)) << TOKEN_BITS
    return keys
