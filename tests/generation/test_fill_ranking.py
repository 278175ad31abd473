"""Ranking of fillings: what makes the music behind the hole likely comes first."""

from dataclasses import replace

import numpy as np
import pytest
import symusic

from rwkv_music.data import Example
from rwkv_music.errors import InputError
from rwkv_music.evaluation.likelihood import model_nats
from rwkv_music.generation import Filling, best_fillings, fill_score, rank_fillings
from rwkv_music.generation.ranking import distance
from rwkv_music.score import take_bars
from rwkv_music.tokenizer import BarIndex
from tests.generation.test_continuation import MODEL, TOKENIZER
from tests.generation.test_filling import band


@pytest.fixture(scope="module")
def pieces() -> list[Filling]:
    made = fill_score(MODEL, band(bars=8), bars=(3, 4), candidates=4, seed=5)
    assert len({piece.tokens.tobytes() for piece in made}) == 4
    return made


def nats_of_bars_five_and_six(score: symusic.Score) -> float:
    """By the evaluation's own code, from all bars in front of them."""
    index = BarIndex(TOKENIZER.encode(score), TOKENIZER)
    window = index.window(0, 6, completion_bar=4)
    ((_, nats, scored),) = model_nats(MODEL, [Example(window.ids, window.completion_start)])
    # The first BAR is certain, and not counted by the ranking.
    return float(nats[scored].sum() - nats[scored][0])


def test_the_order_is_that_of_the_nats_of_the_next_two_bars(pieces: list[Filling]) -> None:
    nats = [nats_of_bars_five_and_six(piece.score) for piece in pieces]
    assert len(set(nats)) == 4
    order = np.argsort(nats).tolist()
    assert rank_fillings(MODEL, pieces) == [pieces[index] for index in order]


def test_silent_and_identical_versions_are_left_out(pieces: list[Filling]) -> None:
    silent = replace(pieces[0], new=symusic.Score(480), tokens=pieces[0].tokens[:-1])
    again = replace(pieces[1], seed=99)
    ranked = rank_fillings(MODEL, [silent, *pieces[:2], again])
    assert sorted(piece.seed for piece in ranked) == [pieces[0].seed, pieces[1].seed]


def test_where_nothing_follows_the_statistics_decide() -> None:
    score = band(bars=4)
    pieces = fill_score(MODEL, score, bars=(3, 4), candidates=4, seed=2)
    context = take_bars(score, 0, 2)
    far = [distance(context, take_bars(piece.score, 2, 4)) for piece in pieces]
    order = np.argsort(far, kind="stable").tolist()
    assert rank_fillings(MODEL, pieces) == [pieces[index] for index in order]


def test_the_best_of_many_are_returned(pieces: list[Filling]) -> None:
    best = best_fillings(MODEL, band(bars=8), bars=(3, 4), candidates=2, draw=4, seed=5)
    ranked = rank_fillings(MODEL, pieces)
    assert [piece.seed for piece in best] == [piece.seed for piece in ranked[:2]]


def test_fewer_drawn_than_asked_for_are_refused() -> None:
    with pytest.raises(InputError, match=r"draw must be at least candidates \(3\), got 2"):
        best_fillings(MODEL, band(), bars=(2, 3), draw=2)
