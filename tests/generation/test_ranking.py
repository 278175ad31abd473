"""Ranking: unusable candidates are counted, the one most like the context comes first."""

import numpy as np
import pytest
import symusic

from rwkv_music.errors import InputError
from rwkv_music.generation import (
    Continuation,
    best_continuations,
    continue_score,
    rank_continuations,
)
from rwkv_music.generation.ranking import distance
from rwkv_music.score import splice
from tests.generation.test_continuation import MODEL
from tests.music import BAR, TICKS, tune


def candidate(new: symusic.Score, seed: int) -> Continuation:
    return Continuation(
        score=splice(tune(bars=4), new, 4 * BAR),
        new=new,
        continuation_start=4 * BAR,
        nats=1.0,
        tokens=np.array([3, seed], dtype=np.uint16),
        seed=seed,
    )


def silence() -> symusic.Score:
    score = tune(bars=2)
    for track in score.tracks:
        track.notes.clear()
    return score


def one_bar_again_and_again(bars: int) -> symusic.Score:
    score = tune(bars=bars)
    for track in score.tracks:
        track.notes.clear()
        for bar in range(bars):
            track.notes.append(symusic.Note(bar * BAR, TICKS, 60, 80))
    return score


def test_a_candidate_like_the_context_comes_before_one_in_another_register_and_rhythm() -> None:
    near = candidate(tune(bars=4, seed=0), 1)
    far = tune(bars=4, seed=0)
    for track in far.tracks:
        for note in track.notes:
            note.pitch += 25
            note.duration = TICKS // 8
    ranking = rank_continuations([candidate(far, 2), near])
    assert [piece.seed for piece in ranking.pieces] == [1, 2]
    assert ranking.distances[0] == pytest.approx(0)
    # Two octaves and a semitone higher, at least.
    assert ranking.distances[1] > 25 / 12
    assert ranking.discarded == {}


def test_silent_identical_and_stuck_candidates_are_counted() -> None:
    good = candidate(tune(bars=4, seed=3), 1)
    pieces = [
        candidate(silence(), 2),
        good,
        candidate(tune(bars=4, seed=3), 1),
        candidate(one_bar_again_and_again(4), 3),
        candidate(one_bar_again_and_again(2), 4),
    ]
    ranking = rank_continuations(pieces)
    assert ranking.discarded == {"silent": 1, "identical": 1, "stuck": 1}
    assert {piece.seed for piece in ranking.pieces} == {1, 4}


def test_the_distance_adds_up_the_differences_of_the_statistics() -> None:
    def notes(*pitches: int) -> symusic.Score:
        score = tune(bars=1, parts=1)
        score.tracks[0].notes.clear()
        for index, pitch in enumerate(pitches):
            score.tracks[0].notes.append(symusic.Note(index * TICKS, TICKS, pitch, 80))
        return score

    assert distance(notes(60, 62, 64, 65), notes(65, 64, 62, 60)) == 0
    # One of four pitch classes differs, and the mean pitch by half a semitone.
    assert distance(notes(60, 62, 64, 65), notes(60, 62, 64, 67)) == pytest.approx(0.25 + 0.5 / 12)
    # Twice the notes a bar; half of the onsets lie elsewhere, and half of the pitches.
    few, many = notes(60, 60), notes(60, 60, 60, 60)
    assert distance(few, many) == pytest.approx(0.5 + np.log(2))


def test_the_best_of_those_drawn_are_returned() -> None:
    drawn = continue_score(MODEL, tune(bars=4), bars=1, candidates=5, seed=2)
    whole = rank_continuations(drawn)
    best = best_continuations(MODEL, tune(bars=4), bars=1, candidates=2, draw=5, seed=2)
    assert [piece.seed for piece in best.pieces] == [piece.seed for piece in whole.pieces][:2]
    assert best.distances == whole.distances[:2]
    with pytest.raises(InputError, match=r"draw must be at least candidates \(3\), got 2"):
        best_continuations(MODEL, tune(bars=4), draw=2)
