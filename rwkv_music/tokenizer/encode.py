"""Score -> token ids, vectorised over notes.

Every event becomes one 64-bit key whose order is the order of the stream; one sort puts them in
place; then each event writes its tokens into a row, and the empty places are squeezed out. Absolute
positions are rounded to the grid first, so that no error accumulates.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Integer, UInt16

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.bars import BarGrid, signature_segments
from rwkv_music.tokenizer.vocabulary import (
    DENOMINATORS,
    DRUM_PROGRAM,
    SLOWEST_TEMPO,
    TEMPO_FRACTIONS,
    Vocabulary,
    tempo_steps,
)

if TYPE_CHECKING:
    import symusic

# Ranks of what can stand at one moment. A cut belongs to the bar before the bar line.
CUT, BAR, TEMPO, PEDAL_UP, PEDAL_DOWN, NOTE = range(6)

_PAYLOAD_BITS = 5 + 7 + 7 + 11  # slot, pitch, velocity level, duration index; or a tempo
_RANK_BITS = 3
_LAST_TIME = (1 << 24) - 1
_SUSTAIN_PEDAL = 64
_DEFAULT_MICROSECONDS = 500_000

Array = Integer[np.ndarray, " _"]
Rows = Integer[np.ndarray, "_ 6"]


class Part(NamedTuple):
    """A track with something in it."""

    program: int
    place: int
    """Index of the track in the score."""
    track: "symusic.Track"


def encode(score: "symusic.Score", vocabulary: Vocabulary) -> UInt16[np.ndarray, " tokens"]:
    """The canonical stream of a score; see `Tokenizer.encode`."""
    parts = parts_of(score, vocabulary.slots)
    grid = _Grid(score.ticks_per_quarter, vocabulary.ticks_per_quarter)
    notes, last_offset, last_onset = _note_keys(parts, grid, vocabulary)
    pedals, last_pedal = _pedal_keys(parts, grid)
    tempo_times, tempo_values = _tempos(score, grid, until=max(last_offset, last_pedal))
    last_event = max(last_onset, last_pedal, int(tempo_times[-1]))
    if last_event > _LAST_TIME:
        raise InputError(
            f"the score is {last_event // vocabulary.ticks_per_quarter} quarters long; at most "
            f"{_LAST_TIME // vocabulary.ticks_per_quarter} can be written: split it"
        )
    bars = BarGrid.of(
        signature_segments(score, grid.round), vocabulary.ticks_per_quarter, last_event
    )
    keys = np.concatenate(
        [
            notes,
            pedals,
            _keys(tempo_times[1:], TEMPO, tempo_values[1:]),
            _keys(bars.starts, BAR, np.arange(len(bars.starts))),
            _keys(bars.starts[bars.is_cut_before], CUT, np.flatnonzero(bars.is_cut_before)),
        ]
    )
    keys.sort()
    header = _header(int(tempo_values[0]), bars, parts, vocabulary)
    return _emit(keys, header, bars, parts, vocabulary)


class _Grid:
    """Rounds ticks of the score to steps of the grid."""

    def __init__(self, ticks_per_quarter: int, steps_per_quarter: int) -> None:
        if ticks_per_quarter < 1:
            raise InputError(f"ticks per quarter must be at least 1, got {ticks_per_quarter}")
        self._ticks, self._steps = ticks_per_quarter, steps_per_quarter

    def round(self, ticks: Array) -> Array:
        """The nearest step; halfway goes up."""
        if self._ticks == self._steps:
            return ticks.astype(np.int64)
        doubled: Array = 2 * ticks.astype(np.int64) * self._steps
        return (doubled + self._ticks) // (2 * self._ticks)


def _differs_from_before(values: Array) -> Bool[np.ndarray, " _"]:
    """Whether each value differs from the one before; the first one does."""
    differs = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=differs[1:])
    return differs


def _keys(times: Array, rank: int | Array, payload: int | Array) -> Array:
    return (((times << _RANK_BITS) | rank) << _PAYLOAD_BITS) | payload


def parts_of(score: "symusic.Score", slots: int) -> list[Part]:
    """Tracks with notes or pedals, sorted by program, drums last; not more than there are slots."""
    parts = [
        Part(DRUM_PROGRAM if track.is_drum else track.program, place, track)
        for place, track in enumerate(score.tracks)
        if len(track.notes) or any(c.number == _SUSTAIN_PEDAL for c in track.controls)
    ]
    if not any(len(part.track.notes) for part in parts):
        raise InputError("the score has no notes, at least 1 is needed: choose another file")
    if len(parts) > slots:
        raise InputError(
            f"the score has {len(parts)} parts, at most {slots} can be written: merge some"
        )
    return sorted(parts, key=lambda part: part.program)


def _note_keys(parts: list[Part], grid: _Grid, vocabulary: Vocabulary) -> tuple[Array, int, int]:
    """Keys of all notes, the last offset and the last onset in grid steps."""
    tables = [part.track.notes.numpy() for part in parts]
    counts = [len(table["time"]) for table in tables]
    slots = np.repeat(np.arange(len(parts)), counts)
    time, duration, pitch, velocity = (
        np.concatenate([table[name] for table in tables]).astype(np.int64)
        for name in ("time", "duration", "pitch", "velocity")
    )
    if time.min() < 0:
        raise InputError(
            f"a note begins at tick {time.min()}, the first tick is 0: shift the score"
        )
    onset = grid.round(time)
    length = vocabulary.duration_index(grid.round(time + duration) - onset)
    level = vocabulary.velocity_level(velocity)
    payload = (((((slots << 7) | pitch) << 7) | level) << 11) | length
    last_offset = int((onset + vocabulary.durations[length]).max())
    return _keys(onset, NOTE, payload), last_offset, int(onset.max())


def _pedal_keys(parts: list[Part], grid: _Grid) -> tuple[Array, int]:
    """Keys of all pedal switches, and the last one's grid step; -1 if there are none."""
    keys = [np.zeros(0, dtype=np.int64)]
    last = -1
    for slot, part in enumerate(parts):
        table = part.track.controls.numpy()
        pedal = table["number"] == _SUSTAIN_PEDAL
        if pedal.any():
            times, is_down = grid.round(table["time"][pedal]), table["value"][pedal] >= 64
            own, last_own = _switch_keys(times, is_down, slot)
            keys.append(own)
            last = max(last, last_own)
    return np.concatenate(keys), last


def _switch_keys(times: Array, is_down: np.ndarray, slot: int) -> tuple[Array, int]:
    """Keys of one part's pedal switches, without those that change nothing, and the last's time.

    Several switches at one grid step become one: up, down, or both when a pedal that was down ends
    down but was lifted in between.
    """
    order = np.argsort(times, kind="stable")
    times, is_down = times[order], is_down[order]
    first = np.flatnonzero(_differs_from_before(times))
    last = np.concatenate([first[1:], [len(times)]]) - 1
    after = is_down[last]
    before = np.concatenate([[False], after[:-1]])
    lifted = np.logical_or.reduceat(~is_down, first)
    moments = times[first]
    up = before & lifted
    down = after & (~before | lifted)
    payload = slot << 25
    keys = [_keys(moments[up], PEDAL_UP, payload), _keys(moments[down], PEDAL_DOWN, payload)]
    # Read off the moments: a key of one that is too late has lost its upper bits.
    return np.concatenate(keys), int(np.max(moments[up | down], initial=-1))


def _tempos(score: "symusic.Score", grid: _Grid, *, until: int) -> tuple[Array, Array]:
    """Times and values of tempo changes, the first at 0; none that no note or pedal hears."""
    table = score.tempos.numpy()
    order = np.argsort(table["time"], kind="stable")
    times = np.concatenate([[0], grid.round(table["time"][order])])
    micro = np.concatenate([[_DEFAULT_MICROSECONDS], table["mspq"][order]]).astype(np.int64)
    values = tempo_steps(micro)
    is_last_at_its_time = _differs_from_before(times[::-1])[::-1]
    times, values = times[is_last_at_its_time], values[is_last_at_its_time]
    heard = _differs_from_before(values) & ((times < until) | (times == 0))
    return times[heard], values[heard]


def _header(tempo: int, bars: BarGrid, parts: list[Part], vocabulary: Vocabulary) -> list[int]:
    tokens = [vocabulary.BOS, *tempo_tokens(tempo, vocabulary)]
    tokens += signature_tokens(int(bars.numerators[0]), int(bars.denominators[0]), vocabulary)
    for slot, part in enumerate(parts):
        tokens += [vocabulary.slot[slot], vocabulary.program[part.program]]
    return tokens


def tempo_tokens(steps: int, vocabulary: Vocabulary) -> list[int]:
    """TEMPO, and TEMPOF unless the fraction is 0."""
    whole, fraction = divmod(steps, TEMPO_FRACTIONS)
    tokens = [vocabulary.tempo[whole - SLOWEST_TEMPO]]
    return [*tokens, vocabulary.tempo_fraction[fraction]] if fraction else tokens


def signature_tokens(numerator: int, denominator: int, vocabulary: Vocabulary) -> list[int]:
    """NUM DEN."""
    return [
        vocabulary.numerator[numerator - 1],
        vocabulary.denominator[DENOMINATORS.index(denominator)],
    ]


def _emit(
    keys: Array, header: list[int], bars: BarGrid, parts: list[Part], vocabulary: Vocabulary
) -> UInt16[np.ndarray, " tokens"]:
    """Lay the sorted events out as tokens.

    Each event gets a row of six places: BEAT, SUB, SLOT and up to three tokens of its own. Places
    that stay empty hold 0 (PAD, which no event writes) and are squeezed out at the end.
    """
    rank = (keys >> _PAYLOAD_BITS) & ((1 << _RANK_BITS) - 1)
    payload = keys & ((1 << _PAYLOAD_BITS) - 1)
    rows = np.zeros((len(keys), 6), dtype=np.uint16)
    _write_positions(rows, keys >> (_RANK_BITS + _PAYLOAD_BITS), rank, bars, vocabulary)
    sounding = np.flatnonzero(rank >= PEDAL_UP)
    slot = payload[sounding] >> 25
    rows[sounding, 2] = (vocabulary.slot.start + slot) * _differs_from_before(slot)
    _write_notes(rows, np.flatnonzero(rank == NOTE), payload, parts, vocabulary)
    _write_pedals(rows, rank, vocabulary)
    _write_tempos(rows, np.flatnonzero(rank == TEMPO), payload, vocabulary)
    _write_bars(rows, np.flatnonzero(rank == BAR), bars, vocabulary)
    flat = rows.ravel()
    body = flat[flat != vocabulary.PAD]
    opening = np.array(header, dtype=np.uint16)
    return np.concatenate([opening, body, np.array([vocabulary.EOS], dtype=np.uint16)])


def _write_positions(
    rows: Rows, times: Array, rank: Array, bars: BarGrid, vocabulary: Vocabulary
) -> None:
    """BEAT and SUB where they differ from the event before; a bar begins with both at 0."""
    is_bar = rank == BAR
    bar = np.cumsum(is_bar) - 1
    beat, sub = np.divmod(times - bars.starts[bar], vocabulary.ticks_per_quarter)
    for column, value, ids in ((0, beat, vocabulary.beat), (1, sub, vocabulary.sub)):
        # The first event is a bar, so that it never counts as a change.
        rows[:, column] = (ids.start + value) * (_differs_from_before(value) & ~is_bar)


def _write_notes(
    rows: Rows, places: Array, payload: Array, parts: list[Part], vocabulary: Vocabulary
) -> None:
    """PITCH or DRUM, VEL, DUR."""
    note = payload[places]
    base = np.array(
        [
            (vocabulary.drum if part.program == DRUM_PROGRAM else vocabulary.pitch).start
            for part in parts
        ]
    )
    rows[places, 3] = base[note >> 25] + ((note >> 18) & 127)
    rows[places, 4] = vocabulary.velocity.start + ((note >> 11) & 127)
    rows[places, 5] = vocabulary.duration.start + (note & 2047)


def _write_pedals(rows: Rows, rank: Array, vocabulary: Vocabulary) -> None:
    """PED."""
    rows[rank == PEDAL_UP, 3] = vocabulary.pedal[0]
    rows[rank == PEDAL_DOWN, 3] = vocabulary.pedal[1]


def _write_tempos(rows: Rows, places: Array, payload: Array, vocabulary: Vocabulary) -> None:
    """TEMPO, and TEMPOF unless the fraction is 0."""
    whole, fraction = np.divmod(payload[places], TEMPO_FRACTIONS)
    rows[places, 3] = vocabulary.tempo.start + whole - SLOWEST_TEMPO
    rows[places, 4] = (vocabulary.tempo_fraction.start + fraction) * (fraction > 0)


def _write_bars(rows: Rows, places: Array, bars: BarGrid, vocabulary: Vocabulary) -> None:
    """BAR, and NUM DEN where the signature is new."""
    rows[places, 3] = vocabulary.BAR
    changed = np.flatnonzero(bars.is_new_signature)
    denominators = np.searchsorted(DENOMINATORS, bars.denominators[changed])
    rows[places[changed], 4] = vocabulary.numerator.start + bars.numerators[changed] - 1
    rows[places[changed], 5] = vocabulary.denominator.start + denominators
