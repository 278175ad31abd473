"""Bars in grid steps: where they begin, their signatures, and which are cut short."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.vocabulary import DENOMINATORS, MAX_BEATS, MAX_NUMERATOR

if TYPE_CHECKING:
    import symusic

Bars = Int[np.ndarray, " bars"]


class Segment(NamedTuple):
    """A stretch of music under one time signature."""

    start: int
    numerator: int
    denominator: int


def signature_segments(
    score: "symusic.Score", to_grid: Callable[[Int[np.ndarray, " n"]], Int[np.ndarray, " n"]]
) -> list[Segment]:
    """The time signatures of a score in grid steps; 4/4 where it says nothing.

    A signature that repeats the one in force is passed over: it begins no new bar. Of several at
    one moment the last one counts.

    Raises:
        InputError: If a signature cannot be written.
    """
    table = score.time_signatures.numpy()
    order = np.argsort(table["time"], kind="stable")
    starts = to_grid(table["time"][order].astype(np.int64))
    rows = zip(
        starts.tolist(),
        table["numerator"][order].tolist(),
        table["denominator"][order].tolist(),
        strict=True,
    )
    segments = [Segment(0, 4, 4)]
    for start, numerator, denominator in rows:
        _check_signature(numerator, denominator)
        if segments[-1].start >= start:
            segments.pop()
        if not segments or segments[-1][1:] != (numerator, denominator):
            segments.append(Segment(start, numerator, denominator))
    return segments


def _check_signature(numerator: int, denominator: int) -> None:
    fits = (
        1 <= numerator <= MAX_NUMERATOR
        and denominator in DENOMINATORS
        and 4 * numerator <= MAX_BEATS * denominator
    )
    if not fits:
        raise InputError(
            f"the time signature {numerator}/{denominator} cannot be written: numerators go from 1 "
            f"to {MAX_NUMERATOR}, denominators from 1 to 64 by powers of two, bars up to "
            f"{MAX_BEATS} quarters; correct it in the score"
        )


@dataclass(frozen=True)
class BarGrid:
    """Every bar from 0 to the one that holds the last event."""

    starts: Bars
    """Where each bar begins."""
    numerators: Bars
    denominators: Bars
    is_new_signature: Bool[np.ndarray, " bars"]
    """True where a bar's signature differs from the one before; False for the first bar."""
    is_cut_before: Bool[np.ndarray, " bars"]
    """True where the bar before is shorter than its signature says."""

    @classmethod
    def of(cls, segments: list[Segment], ticks_per_quarter: int, last_event: int) -> "BarGrid":
        """The bars of some segments, up to the bar that contains the time `last_event`."""
        ends = [segment.start for segment in segments[1:]] + [last_event + 1]
        starts, numerators, denominators, first, cut = [], [], [], [], []
        previous_is_cut = False
        for segment, end in zip(segments, ends, strict=True):
            if segment.start > last_event:
                break
            length = 4 * ticks_per_quarter * segment.numerator // segment.denominator
            bars = np.arange(segment.start, min(end, last_event + 1), length, dtype=np.int64)
            starts.append(bars)
            numerators.append(np.full(len(bars), segment.numerator, dtype=np.int64))
            denominators.append(np.full(len(bars), segment.denominator, dtype=np.int64))
            opens = np.arange(len(bars)) == 0
            first.append(opens & (segment.start > 0))
            cut.append(opens & previous_is_cut)
            previous_is_cut = bool((end - segment.start) % length)
        return cls(
            starts=np.concatenate(starts),
            numerators=np.concatenate(numerators),
            denominators=np.concatenate(denominators),
            is_new_signature=np.concatenate(first),
            is_cut_before=np.concatenate(cut),
        )
