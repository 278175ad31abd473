"""Bars of a score in grid steps: where they begin, their time signatures, and which are cut."""

from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.events import TIME_SHIFT, TOKEN_BITS, TYPE_SHIFT, EventType, Keys
from rwkv_music.tokenizer.vocabulary import DENOMINATORS, MAX_BEATS, MAX_NUMERATOR, Vocabulary
from rwkv_music.tokenizer.writer import signature_tokens

if TYPE_CHECKING:
    import symusic

_BAR = int(EventType.BAR) << TYPE_SHIFT
_CUT = int(EventType.CUT) << TYPE_SHIFT


class Segment(NamedTuple):
    """Music under one time signature."""

    start: int
    numerator: int
    denominator: int


def signature_segments(score: "symusic.Score", to_grid: Callable[[int], int]) -> list[Segment]:
    """Return the time signatures of a score in grid steps; 4/4 where it has none.

    A signature that repeats the current one is ignored: it begins no new bar. Of several at one
    moment the last one counts.

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
            f"the time signature {numerator}/{denominator} cannot be written: numerators are 1 to "
            f"{MAX_NUMERATOR}, denominators powers of two from 1 to 64, bars at most {MAX_BEATS} "
            "quarters long; correct it in the score"
        )


def bar_keys(segments: list[Segment], vocabulary: Vocabulary, last_event: int) -> Keys:
    """Return the keys of every bar from 0 to the one at the time `last_event`, and of all cuts.

    A bar that changes the signature states it. A cut stands where a bar ends before its signature
    says so.
    """
    ends = [segment.start for segment in segments[1:]] + [last_event + 1]
    bars: list[Keys] = []
    cuts = []
    is_cut = False
    for segment, end in zip(segments, ends, strict=True):
        start, numerator, denominator = segment
        if start > last_event:
            break
        length = 4 * vocabulary.steps_per_quarter * numerator // denominator
        stop = min(min(end, last_event + 1) << TIME_SHIFT, (1 << 63) - 1)
        keys = np.arange((start << TIME_SHIFT) + _BAR, stop, length << TIME_SHIFT, dtype=np.int64)
        if bars:
            num, den = signature_tokens(numerator, denominator, vocabulary)
            keys[0] |= (num << TOKEN_BITS) | den
        if is_cut:
            cuts.append((start << TIME_SHIFT) + _CUT)
        bars.append(keys)
        is_cut = (end - start) % length != 0
    return np.concatenate([*bars, np.array(cuts, dtype=np.int64)]) if cuts else np.concatenate(bars)
