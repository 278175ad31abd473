"""Windows of whole bars, and splits by piece."""

from collections.abc import Iterable

import numpy as np
import pytest
import symusic

from rwkv_music.data import Corpus, Piece, Windows, split_corpus
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Tokenizer
from tests.music import piece, tune

TOKENIZER = Tokenizer()


def test_a_window_is_its_prompt_bars_and_the_next_ones() -> None:
    windows = Windows([piece(9)], TOKENIZER, prompt_bars=2, completion_bars=3)
    bar = TOKENIZER.vocabulary.BAR
    for example in windows:
        assert example.ids[example.completion_start] == bar
    counts = [
        (
            int((example.ids[: example.completion_start] == bar).sum()),
            int((example.ids[example.completion_start :] == bar).sum()),
        )
        for example in windows
    ]
    # Completions from bars 1, 4 and 7 of 9: one bar before the first, two bars in the last.
    assert counts == [(1, 3), (2, 3), (2, 2)]


@pytest.mark.parametrize("offset", [0, 1, 2])
def test_every_bar_but_the_first_is_completed_exactly_once(offset: int) -> None:
    whole = piece(9)
    windows = Windows([whole], TOKENIZER, prompt_bars=2, completion_bars=3)
    examples = [windows.example(span) for span in windows.spans(offset=offset)]
    completed = np.concatenate([example.ids[example.completion_start :] for example in examples])
    second_bar = np.flatnonzero(whole.ids == TOKENIZER.vocabulary.BAR)[1]
    notes = TOKENIZER.vocabulary.pitch
    expected = [token for token in whole.ids[second_bar:] if token in notes]
    assert [token for token in completed if token in notes] == expected


def test_every_window_begins_with_the_active_header() -> None:
    score = tune(bars=6)
    score.tempos.append(symusic.Tempo(3 * 4 * 96, qpm=61.0))
    slowed = Piece("slowed", TOKENIZER.encode(score), "slowed")
    windows = Windows([slowed], TOKENIZER, prompt_bars=1, completion_bars=1)
    tempos = [int(window.ids[1]) - TOKENIZER.vocabulary.tempo.start + 8 for window in windows]
    assert [int(window.ids[0]) for window in windows] == [TOKENIZER.vocabulary.BOS] * 5
    assert tempos == [100, 100, 100, 61, 61]


def test_moving_the_offset_moves_the_completions() -> None:
    windows = Windows([piece(9), piece(2, seed=1)], TOKENIZER, prompt_bars=2, completion_bars=3)
    assert list(windows.spans(offset=0)) == [(0, 1, 4), (0, 4, 7), (0, 7, 9), (1, 1, 2)]
    assert list(windows.spans(offset=2)) == [(0, 1, 3), (0, 3, 6), (0, 6, 9), (1, 1, 2)]


def test_pieces_of_one_bar_are_named_and_left_out() -> None:
    short = Piece("short.mid", piece(1).ids, "short")
    windows = Windows([short, piece(4)], TOKENIZER, prompt_bars=2, completion_bars=2)
    assert windows.too_short == ["short.mid"]
    with pytest.raises(InputError, match=r"none of the 1 pieces has 2 bars.*short\.mid"):
        Windows([short], TOKENIZER, prompt_bars=2, completion_bars=2)


@pytest.mark.parametrize("name", ["prompt_bars", "completion_bars"])
def test_a_window_without_bars_is_refused(name: str) -> None:
    settings = {"prompt_bars": 2, "completion_bars": 2, name: 0}
    with pytest.raises(InputError, match=f"{name} must be at least 1 bar, got 0"):
        Windows([piece(4)], TOKENIZER, **settings)


def corpus_of(groups: list[str]) -> Corpus:
    ids = np.array([1, 3, 2], dtype=np.uint16)
    pieces = tuple(Piece(f"{index}", ids, group) for index, group in enumerate(groups))
    return Corpus("test", pieces, {})


def groups_of(pieces: Iterable[Piece]) -> set[str]:
    return {own.group for own in pieces}


def test_a_group_is_never_in_both_splits() -> None:
    corpus = corpus_of([f"g{index % 40}" for index in range(120)])
    train, valid = split_corpus(corpus, valid_fraction=0.25)
    assert groups_of(train).isdisjoint(groups_of(valid))
    assert len(train) + len(valid) == 120
    assert 0.1 < len(valid) / 120 < 0.4


def test_adding_pieces_does_not_change_the_split_of_others() -> None:
    few, many = corpus_of([f"g{n}" for n in range(30)]), corpus_of([f"g{n}" for n in range(60)])
    held_out = groups_of(split_corpus(few, valid_fraction=0.3)[1])
    later = groups_of(split_corpus(many, valid_fraction=0.3)[1])
    assert held_out == {group for group in later if int(group[1:]) < 30}


def test_of_two_groups_one_is_held_out() -> None:
    for fraction in (0.001, 0.999):
        train, valid = split_corpus(corpus_of(["a", "b", "b"]), valid_fraction=fraction)
        assert train
        assert valid


def test_a_corpus_of_copies_is_refused() -> None:
    with pytest.raises(InputError, match="2 usable pieces in 1 groups"):
        split_corpus(corpus_of(["a", "a"]))
