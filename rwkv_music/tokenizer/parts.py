"""The parts of a score, in the order of their tokens."""

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rwkv_music.errors import InputError
from rwkv_music.score.instruments import PEDAL_DOWN_VALUE, SUSTAIN_PEDAL
from rwkv_music.tokenizer.vocabulary import DRUM_PROGRAM

if TYPE_CHECKING:
    import symusic


class Part(NamedTuple):
    """A track with notes or pedals, or several of one program where there are too many."""

    program: int
    tracks: tuple[int, ...]
    """Indices of its tracks in the score."""
    track: "symusic.Track"


def parts_of(score: "symusic.Score", max_parts: int) -> list[Part]:
    """Return the tracks with notes or pedals, sorted by program, drums last.

    Where there are more than `max_parts`, tracks of one program become one part, as few as needed.

    Raises:
        InputError: If there is no note, or there are more programs than `max_parts`.
    """
    has_notes = False
    parts = []
    for index, track in enumerate(score.tracks):
        sounds = len(track.notes) > 0
        if sounds or any(control.number == SUSTAIN_PEDAL for control in track.controls):
            has_notes |= sounds
            program = DRUM_PROGRAM if track.is_drum else track.program
            parts.append(Part(program, (index,), track))
    if not has_notes:
        raise InputError("the score has no notes, at least 1 is needed: choose another file")
    if len(parts) > 1:
        parts.sort(key=lambda part: part.program)
    return parts if len(parts) <= max_parts else _merged(parts, max_parts)


def _merged(parts: list[Part], max_parts: int) -> list[Part]:
    """Merge the last two parts of the program with the most, until there are `max_parts`."""
    counts = Counter(part.program for part in parts)
    if len(counts) > max_parts:
        raise InputError(
            f"the score has {len(counts)} parts of different programs, at most {max_parts} can be "
            "written: leave some out"
        )
    for _ in range(len(parts) - max_parts):
        crowded = max(counts, key=lambda program: (counts[program], -program))
        counts[crowded] -= 1
    kept = []
    for program, count in counts.items():
        own = [part for part in parts if part.program == program]
        kept += own[: count - 1]
        kept.append(_as_one(own[count - 1 :]))
    return kept


def _as_one(parts: list[Part]) -> Part:
    """Merge parts of one program: all notes, and the pedal down while any of them has it down."""
    import symusic

    if len(parts) == 1:
        return parts[0]
    first = parts[0].track
    merged = symusic.Track(first.name, first.program, first.is_drum)
    switches: list[tuple[int, int]] = []
    for part in parts:
        merged.notes.extend(part.track.notes)
        switches += _switches(part.track)
    merged.notes.sort()
    switches.sort()
    down = 0
    for time, step in switches:
        down += step
        merged.controls.append(symusic.ControlChange(time, SUSTAIN_PEDAL, 127 if down > 0 else 0))
    tracks = tuple(index for part in parts for index in part.tracks)
    return Part(parts[0].program, tracks, merged)


def _switches(track: "symusic.Track") -> list[tuple[int, int]]:
    """Return when the pedal of a track goes down (1) and up (-1)."""
    table = track.controls.numpy()
    own = np.flatnonzero(table["number"] == SUSTAIN_PEDAL)
    own = own[np.argsort(table["time"][own], kind="stable")]
    is_down = (table["value"][own] >= PEDAL_DOWN_VALUE).astype(np.int8)
    steps = np.diff(is_down, prepend=np.int8(0))
    return [
        (time, step)
        for time, step in zip(table["time"][own].tolist(), steps.tolist(), strict=True)
        if step
    ]
