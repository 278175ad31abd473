"""Bars in grid steps: where they begin, their signatures, and which are cut short."""

from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int64

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.tables import BAR, CUT, RANK_SHIFT, TIME_SHIFT, TOKEN_BITS
from rwkv_music.tokenizer.vocabulary import DENOMINATORS, MAX_BEATS, MAX_NUMERATOR, Vocabulary

if TYPE_CHECKING:
    import symusic

_BAR = BAR << RANK_SHIFT
_CUT = CUT << RANK_SHIFT


class Segment(NamedTuple):
    """A stretch of music under one time signature."""

    start: int
    numerator: int
    denominator: int


def signature_segments(score: "symusic.Score", to_grid: Callable[[int], int]) -> list[Segment]:
    """The time signatures of a score in grid steps; 4/4 where it says nothing.

    A signature that repeats the one in force is passed over: it begins no new bar. Of several at
    one moment the last one counts.

    Raises:
        InputError: If a signature cannot be written.
    """
    segments = [Segment(0, 4, 4)]
    rows = [(sign.time, sign.numerator, sign.denominator) for sign in score.time_signatures]
    rows.sort(key=itemgetter(0))
    for time, numerator, denominator in rows:
        _check_signature(numerator, denominator)
        start = to_grid(time)
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


def bar_keys(
    segments: list[Segment], vocabulary: Vocabulary, last_event: int
) -> tuple[list[Int64[np.ndarray, " bars"]], list[int]]:
    """Keys of every bar from 0 to the one that holds the time `last_event`, and of all cuts.

    A bar that changes the signature tells it; a cut stands where a bar ends before its signature
    says so.

    Returns:
        The bars of each segment, in order, and the cuts.
    """
    ends = [segment.start for segment in segments[1:]] + [last_event + 1]
    bars: list[Int64[np.ndarray, " bars"]] = []
    cuts = []
    is_cut = False
    for segment, end in zip(segments, ends, strict=True):
        start, numerator, denominator = segment
        if start > last_event:
            break
        length = 4 * vocabulary.steps_per_quarter * numerator // denominator
        stop = min(end, last_event + 1) << TIME_SHIFT
        own = np.arange((start << TIME_SHIFT) + _BAR, stop, length << TIME_SHIFT, dtype=np.int64)
        if bars:
            num, den = signature_tokens(numerator, denominator, vocabulary)
            own[0] |= (num << TOKEN_BITS) | den
        if is_cut:
            cuts.append((start << TIME_SHIFT) + _CUT)
        bars.append(own)
        is_cut = (end - start) % length != 0
    return bars, cuts


def signature_tokens(numerator: int, denominator: int, vocabulary: Vocabulary) -> list[int]:
    """NUM DEN."""
    return [
        vocabulary.numerator[numerator - 1],
        vocabulary.denominator[DENOMINATORS.index(denominator)],
    ]
