"""Tunes made here, for the tests of several rooms."""

import numpy as np
import symusic

from rwkv_music.data import Piece
from rwkv_music.tokenizer import Tokenizer

TICKS = 96
BAR = 4 * TICKS


def tune(
    *,
    bars: int,
    seed: int = 0,
    parts: int = 2,
    program: int = 0,
    qpm: float = 100.0,
    low: int = 40,
) -> symusic.Score:
    """A few parts of quarters and halves in 4/4, different for each seed; no bar is empty."""
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
    """A tune as token ids of the default tokenizer, in a group of its own."""
    called = name or f"tune-{bars}-{seed}"
    return Piece(name=called, ids=Tokenizer().encode(tune(bars=bars, seed=seed)), group=called)
