"""Random music and token streams for the tests."""

import numpy as np
import symusic

from rwkv_music.tokenizer import Grammar, Tokenizer, TokenType

SIGNATURES = ((4, 4), (3, 4), (6, 8), (5, 4), (7, 8), (2, 2))


def random_score(
    rng: np.random.Generator, *, ticks: int = 96, free: bool = False, parts: int = 5
) -> symusic.Score:
    """Return parts with drums, pedals, tempo and signature changes; velocities are multiples of 4.

    Args:
        rng: Random number generator.
        ticks: Ticks per quarter.
        free: Whether onsets may be at any tick; otherwise they are multiples of 1/96 quarter.
        parts: Maximum number of parts.
    """
    score = symusic.Score(ticks)
    bar = 4 * ticks
    end = int(rng.integers(1, 8)) * bar
    for _ in range(int(rng.integers(0, 4))):
        time = int(rng.integers(0, end))
        score.tempos.append(symusic.Tempo(time, qpm=float(rng.uniform(20, 300))))
        numerator, denominator = SIGNATURES[int(rng.integers(len(SIGNATURES)))]
        sign = symusic.TimeSignature(int(rng.integers(0, end)), numerator, denominator)
        score.time_signatures.append(sign)
    for _ in range(int(rng.integers(1, parts + 1))):
        is_drum = rng.random() < 0.2
        track = symusic.Track("", int(rng.integers(0, 3)) * 20, bool(is_drum))
        for _ in range(int(rng.integers(1, 25))):
            onset, duration = int(rng.integers(0, end)), int(rng.integers(1, ticks // 2 + 1))
            if free:
                duration = int(rng.integers(1, 6 * ticks))
            velocity = 4 * int(rng.integers(1, 32))
            track.notes.append(symusic.Note(onset, duration, int(rng.integers(128)), velocity))
        for _ in range(int(rng.integers(0, 6)) if rng.random() < 0.4 else 0):
            time, value = int(rng.integers(0, end)), int(rng.integers(128))
            track.controls.append(symusic.ControlChange(time, 64, value))
        score.tracks.append(track)
    return score


def notes_of(score: symusic.Score, *, start: int = 0) -> list[tuple[int, ...]]:
    """Return all notes as (is drum, program, onset, duration, pitch, velocity), sorted."""
    return sorted(
        (
            int(track.is_drum),
            0 if track.is_drum else track.program,
            note.time - start,
            note.duration,
            note.pitch,
            note.velocity,
        )
        for track in score.tracks
        for note in track.notes
        if note.time >= start
    )


def random_stream(
    tokenizer: Tokenizer, rng: np.random.Generator, *, bars: int = 4, most: int = 600
) -> tuple[np.ndarray, Grammar]:
    """Walk the grammar with random choices, kind by kind, until EOS or `most` tokens."""
    vocabulary = tokenizer.vocabulary
    grammar = tokenizer.grammar()
    taken: list[int] = []
    while not grammar.finished and len(taken) < most:
        allowed = np.flatnonzero(grammar.allowed())
        kinds = vocabulary.types_of(allowed)
        if vocabulary.EOS in allowed and grammar.bars >= bars:
            token = vocabulary.EOS
        else:
            choices = np.unique(kinds[kinds != TokenType.EOS])
            kind = rng.choice(choices) if len(choices) else TokenType.EOS
            token = int(rng.choice(allowed[kinds == kind]))
        grammar.advance(token)
        taken.append(token)
    return np.array(taken, dtype=np.uint16), grammar
