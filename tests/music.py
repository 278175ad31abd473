"""Scores and pieces for the tests of several packages."""

from collections.abc import Sequence

import numpy as np
import symusic

from rwkv_music.data import Piece
from rwkv_music.tokenizer import Tokenizer

TICKS = 96
BAR = 4 * TICKS


def score_of(
    *notes: tuple[int, ...],
    ticks: int = 480,
    program: int = 0,
    is_drum: bool = False,
    signatures: Sequence[tuple[int, int, int]] = (),
) -> symusic.Score:
    """Return a score with one track.

    Args:
        notes: (onset, duration, pitch), optionally with a velocity; 80 by default.
        ticks: Ticks per quarter.
        program: Program of the track.
        is_drum: Whether it is a drum track.
        signatures: Time signatures as (tick, numerator, denominator).
    """
    score = symusic.Score(ticks)
    for signature in signatures:
        score.time_signatures.append(symusic.TimeSignature(*signature))
    track = symusic.Track("", program, is_drum)
    for onset, duration, pitch, *velocity in notes:
        track.notes.append(symusic.Note(onset, duration, pitch, *(velocity or [80])))
    score.tracks.append(track)
    return score


def tune(
    *,
    bars: int,
    seed: int = 0,
    parts: int = 2,
    program: int = 0,
    qpm: float = 100.0,
    low: int = 40,
) -> symusic.Score:
    """Return parts of quarters and halves in 4/4 that depend on the seed; no bar is empty."""
    rng = np.random.default_rng(seed)
    score = symusic.Score(TICKS)
    score.tempos.append(symusic.Tempo(0, qpm=qpm))
    score.time_signatures.append(symusic.TimeSignature(0, 4, 4))
    for part in range(parts):
        track = symusic.Track(f"part {part}", program, False)
        onset = 0
        while onset < bars * BAR:
            duration = min(int(rng.choice([TICKS, 2 * TICKS])), bars * BAR - onset)
            pitch = low + 12 * (parts - part) + int(rng.integers(12))
            track.notes.append(symusic.Note(onset, duration, pitch, 80))
            onset += duration
        score.tracks.append(track)
    return score


def piece(bars: int, *, seed: int = 0, name: str | None = None) -> Piece:
    """Return a tune as token ids of the default tokenizer, in its own group."""
    piece_name = name or f"tune-{bars}-{seed}"
    return Piece(
        name=piece_name, ids=Tokenizer().encode(tune(bars=bars, seed=seed)), group=piece_name
    )
