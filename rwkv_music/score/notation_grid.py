"""Rounds a score to what notation can write: 32nds and triplet 16ths."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

if TYPE_CHECKING:
    import symusic

TICKS_PER_QUARTER = 24
_STEPS = (3, 4)
"""A 32nd and a triplet 16th, in ticks."""


def on_notation_grid(score: "symusic.Score") -> "symusic.Score":
    """A copy with 24 ticks per quarter, all moments at the nearest 32nd or triplet 16th.

    A note keeps at least a 32nd; tempos, signatures and keys move to the nearest 32nd.

    Args:
        score: In ticks.
    """
    import symusic

    rounded = symusic.Score(TICKS_PER_QUARTER)
    scale = TICKS_PER_QUARTER / score.ticks_per_quarter
    for track in score.tracks:
        part = symusic.Track(track.name, track.program, track.is_drum)
        table = track.notes.numpy()
        onsets = _nearest(table["time"] * scale)
        ends = np.maximum(_nearest((table["time"] + table["duration"]) * scale), onsets + _STEPS[0])
        rows = zip(onsets, ends - onsets, table["pitch"], table["velocity"], strict=True)
        for onset, duration, pitch, velocity in rows:
            part.notes.append(symusic.Note(int(onset), int(duration), int(pitch), int(velocity)))
        rounded.tracks.append(part)
    for tempo in score.tempos:
        rounded.tempos.append(symusic.Tempo(_on_32nd(tempo.time * scale), mspq=tempo.mspq))
    for sign in score.time_signatures:
        rounded.time_signatures.append(
            symusic.TimeSignature(_on_32nd(sign.time * scale), sign.numerator, sign.denominator)
        )
    for key in score.key_signatures:
        rounded.key_signatures.append(
            symusic.KeySignature(_on_32nd(key.time * scale), key.key, key.tonality)
        )
    return rounded


def _on_32nd(ticks: float) -> int:
    return round(ticks / _STEPS[0]) * _STEPS[0]


def _nearest(ticks: np.ndarray) -> Int[np.ndarray, " notes"]:
    """The nearer of the two grids; of equals the 32nds."""
    fine, triplet = (np.rint(ticks / step).astype(np.int64) * step for step in _STEPS)
    nearest: Int[np.ndarray, " notes"] = np.where(
        np.abs(triplet - ticks) < np.abs(fine - ticks), triplet, fine
    )
    return nearest
