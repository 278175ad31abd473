"""Figures that compare what was written into a hole with what stood there."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from rwkv_music.evaluation.infilling import PartNotes

_SLOTS_PER_QUARTER = 4


@dataclass(frozen=True)
class HoleFigures:
    """Figures of one hole, or their means."""

    onset_f1: float
    """F1 of the sixteenths of each part in which a note begins."""
    note_f1: float
    """The same of pairs of sixteenth and pitch."""
    chroma_similarity: float
    """Cosine of the durations of the twelve pitch classes, beat by beat, mean over the beats in
    which either sounds."""
    density_error: float
    """Absolute difference of the numbers of notes, divided by the true one."""
    nats_per_note_behind: float
    """Nats a note of the bars behind the hole, given what was written."""

    @classmethod
    def mean(cls, rows: Sequence["HoleFigures"]) -> "HoleFigures":
        """Return the means; what could not be measured is left out."""
        return cls(*np.nanmean(np.array([astuple(row) for row in rows]), axis=0).tolist())

    def as_dict(self) -> dict[str, float]:
        """Return the figures by name, rounded."""
        return {field.name: round(getattr(self, field.name), 4) for field in fields(self)}


def compare(
    truth: "Mapping[int, PartNotes]",
    written: "Mapping[int, PartNotes]",
    length: int,
    ticks_per_quarter: int,
    nats_per_note_behind: float,
    *,
    drums: Collection[int] = (),
) -> HoleFigures:
    """Return the figures of one hole.

    Args:
        truth: What stood in the hole, by track.
        written: What was written, by track.
        length: Of the hole in ticks.
        ticks_per_quarter: Of the notes.
        nats_per_note_behind: Already measured.
        drums: Tracks whose pitches are drums, which have no chroma.
    """
    pitched = [
        {track: notes for track, notes in parts.items() if track not in drums}
        for parts in (truth, written)
    ]
    num_true = sum(len(notes.onsets) for notes in truth.values())
    num_written = sum(len(notes.onsets) for notes in written.values())
    return HoleFigures(
        onset_f1=f1(_onsets(truth, ticks_per_quarter), _onsets(written, ticks_per_quarter)),
        note_f1=f1(
            _onsets(truth, ticks_per_quarter, with_pitch=True),
            _onsets(written, ticks_per_quarter, with_pitch=True),
        ),
        chroma_similarity=chroma_similarity(
            *(_chroma(parts, length, ticks_per_quarter) for parts in pitched)
        ),
        density_error=abs(num_written - num_true) / num_true if num_true else float("nan"),
        nats_per_note_behind=nats_per_note_behind,
    )


def f1(truth: set[tuple[int, ...]], written: set[tuple[int, ...]]) -> float:
    """Return the harmonic mean of precision and recall; 1 if both sets are empty.

    Example:
        >>> f1({(0,), (4,)}, {(0,), (8,)})
        0.5
    """
    if not truth and not written:
        return 1.0
    return 2 * len(truth & written) / (len(truth) + len(written))


def chroma_similarity(
    truth: Float[np.ndarray, "beats 12"], written: Float[np.ndarray, "beats 12"]
) -> float:
    """Return the mean cosine over the beats in which either has notes; nan if none has."""
    norms = np.linalg.norm(truth, axis=1), np.linalg.norm(written, axis=1)
    sounds = (norms[0] > 0) | (norms[1] > 0)
    if not sounds.any():
        return float("nan")
    products = (truth * written).sum(1)[sounds]
    scale = (norms[0] * norms[1])[sounds]
    cosines = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    return float(cosines.mean())


def _onsets(
    parts: "Mapping[int, PartNotes]", ticks_per_quarter: int, *, with_pitch: bool = False
) -> set[tuple[int, ...]]:
    """Return (track, sixteenth) of each note, and its pitch if asked for."""
    onsets: set[tuple[int, ...]] = set()
    for track, notes in parts.items():
        slots = np.rint(notes.onsets * _SLOTS_PER_QUARTER / ticks_per_quarter).astype(int).tolist()
        if with_pitch:
            onsets |= {(track, *pair) for pair in zip(slots, notes.pitches.tolist(), strict=True)}
        else:
            onsets |= {(track, slot) for slot in slots}
    return onsets


def _chroma(
    parts: "Mapping[int, PartNotes]", length: int, ticks_per_quarter: int
) -> Float[np.ndarray, "beats 12"]:
    """Return how long each pitch class sounds in each quarter, over all notes."""
    beats = -(-length // ticks_per_quarter)
    chroma = np.zeros((beats, 12))
    for notes in parts.values():
        for onset, duration, pitch in zip(
            notes.onsets.tolist(), notes.durations.tolist(), notes.pitches.tolist(), strict=True
        ):
            first, last = onset // ticks_per_quarter, (onset + max(duration, 1) - 1)
            for beat in range(first, min(last // ticks_per_quarter, beats - 1) + 1):
                begin = max(onset, beat * ticks_per_quarter)
                end = min(onset + duration, (beat + 1) * ticks_per_quarter)
                chroma[beat, pitch % 12] += end - begin
    return chroma
