"""What survives the tokenizer, note by note: used by `benchmarks.tokenizer`.

A note is matched with the one of the same part and pitch that has the same index in the order
of onset, velocity (both rounded as the tokenizer does) and duration. Times are compared on the
clock, each side with its own tempo map: what a listener hears.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import symusic

from rwkv_music.score import TempoMap
from rwkv_music.tokenizer import BarIndex, Tokenizer

Array = np.ndarray
_SUSTAIN_PEDAL = 64


@dataclass
class Fidelity:
    """How one decoded score differs from the original."""

    notes: int
    notes_kept: int
    parts: int
    parts_kept: int
    signatures: int
    signatures_kept: int
    pedals: int
    pedals_kept: int
    onset_steps: float
    """Largest error of an onset, in grid steps."""
    heard_seconds: Array
    """Error of each onset on the clock."""
    duration_seconds: Array
    """Error of each duration on the clock."""
    velocities: Array
    """Error of each velocity."""


def compare(score: symusic.Score, back: symusic.Score, tokenizer: Tokenizer) -> Fidelity:
    """A score beside what came back of it."""
    grid = Grid(score.ticks_per_quarter, tokenizer.vocabulary.steps_per_quarter)
    ours = [score.tracks[index] for index in tokenizer.part_order(score)]
    theirs = list(back.tracks)
    pairs = list(zip(ours, theirs, strict=False))
    kept, ticks, steps = matched_notes(pairs, grid, tokenizer)
    times, other = TempoMap(score), TempoMap(back)
    onset, duration, velocity = ticks
    got_onset, got_duration, got_velocity = steps
    begins, got_begins = times.ticks_to_seconds(onset), other.ticks_to_seconds(got_onset)
    lasts = times.ticks_to_seconds(onset + duration) - begins
    got_lasts = other.ticks_to_seconds(got_onset + got_duration) - got_begins
    switches = [(pedal_switches(ours), pedal_switches(theirs)) for ours, theirs in pairs]
    signs, got_signs = signatures(score, grid), signatures(back, Grid(grid.steps, grid.steps))
    end = int(max(grid.round(onset).max(), *(given.max(initial=0) for given, _ in switches), 0))
    signs = [sign for sign in signs if sign[0] <= end]
    return Fidelity(
        notes=score.note_num(),
        notes_kept=kept,
        parts=len(ours),
        parts_kept=sum(same_part(*pair) for pair in pairs),
        signatures=len(signs),
        signatures_kept=len(set(signs) & set(got_signs)),
        pedals=sum(len(given) for given, _ in switches),
        pedals_kept=sum(min(len(given), len(got)) for given, got in switches),
        onset_steps=float(np.abs(onset * grid.steps / grid.ticks - got_onset).max()),
        heard_seconds=np.abs(begins - got_begins),
        duration_seconds=np.abs(lasts - got_lasts),
        velocities=np.abs(velocity - got_velocity),
    )


@dataclass(frozen=True)
class Grid:
    """Rounds ticks to grid steps, halfway up."""

    ticks: int
    steps: int

    def round(self, ticks: Array) -> Array:
        """The nearest step."""
        nearest: Array = (2 * ticks * self.steps + self.ticks) // (2 * self.ticks)
        return nearest


def same_part(ours: symusic.Track, theirs: symusic.Track) -> bool:
    """Whether two tracks are the same part by program."""
    drums = (ours.is_drum, theirs.is_drum)
    return all(drums) or (not any(drums) and ours.program == theirs.program)


def matched_notes(
    pairs: list[tuple[symusic.Track, symusic.Track]], grid: Grid, tokenizer: Tokenizer
) -> tuple[int, Array, Array]:
    """How many notes came back, and (onset, duration, velocity) of those on both sides."""
    kept = 0
    before, after = [], []
    for ours, theirs in pairs:
        mine, yours = columns(ours), columns(theirs)
        rounded = grid.round(mine[0])
        level = tokenizer.vocabulary.velocity_level(mine[3])
        mine = mine[:, np.lexsort((mine[1], level, rounded, mine[2]))]
        yours = yours[:, np.lexsort((yours[1], yours[3], yours[0], yours[2]))]
        length = min(mine.shape[1], yours.shape[1])
        mine, yours = mine[:, :length], yours[:, :length]
        kept += int(((mine[2] == yours[2]) & (grid.round(mine[0]) == yours[0])).sum())
        before.append(mine[[0, 1, 3]])
        after.append(yours[[0, 1, 3]])
    return kept, np.concatenate(before, axis=1), np.concatenate(after, axis=1)


def columns(track: symusic.Track) -> Array:
    """Onset, duration, pitch and velocity of every note."""
    table = track.notes.numpy()
    names = ("time", "duration", "pitch", "velocity")
    return np.stack([table[name].astype(np.int64) for name in names])


def pedal_switches(track: symusic.Track) -> Array:
    """Ticks at which the sustain pedal goes down or up, messages that change nothing left out."""
    table = track.controls.numpy()
    own = np.flatnonzero(table["number"] == _SUSTAIN_PEDAL)
    own = own[np.argsort(table["time"][own], kind="stable")]
    is_down = table["value"][own] >= 64
    switches: Array = table["time"][own][np.diff(is_down, prepend=False)].astype(np.int64)
    return switches


def signatures(score: symusic.Score, grid: Grid) -> list[tuple[int, int, int]]:
    """Return those that are current at some tick and differ from the one before, in grid steps."""
    stated = sorted(score.time_signatures, key=lambda sign: sign.time)
    last = {sign.time: (sign.numerator, sign.denominator) for sign in stated}
    distinct: list[tuple[int, int, int]] = []
    for time, sign in last.items():
        if not distinct or distinct[-1][1:] != sign:
            distinct.append((int(grid.round(np.int64(time))), *sign))
    return distinct


def wrong_cuts(ids: Array, tokenizer: Tokenizer, cuts: int, rng: np.random.Generator) -> int:
    """At how many of some random bars a window does not sound like the piece from there on."""
    index = BarIndex(ids, tokenizer)
    whole = tokenizer.decode(ids)
    vocabulary = tokenizer.vocabulary
    lines = tokenizer.token_times(ids)[np.flatnonzero(ids == vocabulary.BAR)]
    times = TempoMap(whole)
    wrong = 0
    for bar in rng.integers(index.num_bars, size=cuts).tolist():
        cut = tokenizer.decode(index.window(bar, index.num_bars).ids)
        start = int(lines[bar])
        offsets = np.array([0, 100, 1000, 10000])
        clock = times.ticks_to_seconds(offsets + start) - times.ticks_to_seconds(np.array([start]))
        same_clock = np.allclose(clock, TempoMap(cut).ticks_to_seconds(offsets))
        wrong += not (same_clock and np.array_equal(tail(whole, start), tail(cut, 0)))
    return wrong


def tail(score: symusic.Score, start: int) -> Array:
    """Notes from a tick on, sorted: (drums or program, onset from there, duration, ..)."""
    rows = [np.zeros((5, 0), dtype=np.int64)]
    for track in score.tracks:
        notes = columns(track)
        notes = notes[:, notes[0] >= start]
        notes[0] -= start
        program = np.full((1, notes.shape[1]), 128 if track.is_drum else track.program)
        rows.append(np.concatenate([program, notes]))
    notes = np.concatenate(rows, axis=1)
    ordered: Array = notes[:, np.lexsort(notes[::-1])]
    return ordered


def in_figures(files: list[Fidelity]) -> dict[str, Any]:
    """Fidelity of a set of files."""
    heard = [1000 * file.heard_seconds for file in files]
    durations = [1000 * file.duration_seconds for file in files]
    velocities = np.concatenate([file.velocities for file in files])
    counts = {
        name: [sum(getattr(file, f"{name}{kept}") for file in files) for kept in ("_kept", "")]
        for name in ("notes", "parts", "signatures", "pedals")
    }
    figures = {
        "onset_steps_max": max(file.onset_steps for file in files),
        "heard_ms_median": np.median(np.concatenate(heard)),
        "heard_ms_p99_worst_file": max(np.percentile(errors, 99) for errors in heard),
        "drift_ms_worst_file": max(errors.max() for errors in heard),
        "duration_ms_median": np.median(np.concatenate(durations)),
        "duration_ms_p99": np.percentile(np.concatenate(durations), 99),
        "duration_ms_p99_worst_file": max(np.percentile(errors, 99) for errors in durations),
        "velocity_mean": velocities.mean(),
        "velocity_max": velocities.max(),
    }
    return {"kept": counts, **{name: round(float(value), 3) for name, value in figures.items()}}
