"""Streaming: the notes of `continue_score`, one by one, until it is closed."""

from itertools import islice

import numpy as np

from rwkv_music.generation import BarEnd, Continuation, NewNote, Request, continue_score, stream
from tests.generation.test_continuation import MODEL, TOKENIZER
from tests.music import BAR, tune

REQUEST = Request(bars=3, candidates=3, seed=4)


def whole_batch() -> list[Continuation]:
    return continue_score(MODEL, tune(bars=2), bars=3, candidates=3, seed=4)


def notes_of_new_bars(piece: Continuation) -> list[tuple[int, ...]]:
    return sorted(
        (track, note.time, note.pitch, note.velocity)
        for track in range(len(piece.new.tracks))
        for note in piece.new.tracks[track].notes
    )


def test_the_streamed_notes_are_those_of_the_whole_continuation() -> None:
    events = stream(MODEL, tune(bars=2), REQUEST)
    notes: list[list[tuple[int, ...]]] = [[], [], []]
    for event in events:
        if isinstance(event, NewNote):
            row = (event.track, event.time, event.pitch, event.velocity)
            notes[event.candidate].append(row)
    pieces = whole_batch()
    assert [sorted(note) for note in notes] == [notes_of_new_bars(piece) for piece in pieces]
    assert sum(map(len, notes)) > 20
    for own, piece in zip(events.results(), pieces, strict=True):
        np.testing.assert_array_equal(own.tokens, piece.tokens)


def test_every_bar_of_every_candidate_ends_once_and_behind_its_notes() -> None:
    ends: dict[int, list[tuple[int, int]]] = {0: [], 1: [], 2: []}
    for event in stream(MODEL, tune(bars=2), REQUEST):
        if isinstance(event, BarEnd):
            ends[event.candidate].append((event.bars, event.time))
        else:
            assert event.time // BAR == len(ends[event.candidate])
    assert all(bars == [(1, BAR), (2, 2 * BAR), (3, 3 * BAR)] for bars in ends.values())


def test_notes_arrive_before_the_continuation_is_complete() -> None:
    events = stream(MODEL, tune(bars=2), REQUEST)
    assert len(list(islice(events, 5))) == 5
    lengths = [len(piece.tokens) for piece in events.results(whole_bars=False)]
    assert max(lengths) < min(len(piece.tokens) for piece in whole_batch())


def test_closing_keeps_the_bars_that_are_complete() -> None:
    events = stream(MODEL, tune(bars=2), REQUEST)
    first = next(event for event in events if isinstance(event, BarEnd))
    events.close()
    assert list(events) == []
    piece, whole = events.results()[first.candidate], whole_batch()[first.candidate]
    assert TOKENIZER.num_bars(piece.tokens) == 1
    np.testing.assert_array_equal(piece.tokens, whole.tokens[: len(piece.tokens)])
    assert whole.tokens[len(piece.tokens)] == TOKENIZER.vocabulary.BAR
    [tick] = {event.time for event in [first]}
    kept = [note for note in notes_of_new_bars(whole) if note[1] < tick]
    assert notes_of_new_bars(piece) == kept


def test_before_the_first_bar_is_complete_there_is_nothing_to_keep() -> None:
    events = stream(MODEL, tune(bars=2), REQUEST)
    next(events)
    events.close()
    for piece in events.results():
        assert len(piece.tokens) == piece.nats == piece.new.note_num() == 0
        assert piece.score.note_num() == tune(bars=2).note_num()
