"""A hole becomes a stream of tokens, and the stream becomes the same hole again."""

import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.errors import InputError
from rwkv_music.tokenizer import BarIndex, Tokenizer, TokenType
from rwkv_music.tokenizer.holes import Hole, cut_hole, measure_hole, split_hole, write_hole
from rwkv_music.tokenizer.holes.edge import bar_ends
from rwkv_music.tokenizer.reader import read_whole
from tests.tokenizer.holes import random_hole
from tests.tokens import notes_of

TOKENIZER = Tokenizer()
V = TOKENIZER.vocabulary
PIANO, BASS = 0, 1


def two_parts(bars: int = 4) -> np.ndarray:
    """A piano and a bass: one note a bar each, C4 + bar and C2 + bar, of two quarters."""
    score = symusic.Score(96)
    score.time_signatures.append(symusic.TimeSignature(0, 4, 4))
    for program, pitch in ((0, 60), (33, 36)):
        track = symusic.Track("", program)
        for bar in range(bars):
            track.notes.append(symusic.Note(384 * bar, 192, pitch + bar, 80))
        score.tracks.append(track)
    return TOKENIZER.encode(score)


def hole_of(ids: np.ndarray, start: int, cells: list[list[bool]], **context: int) -> Hole:
    index = BarIndex(ids, TOKENIZER)
    bounds = {"first": 0, "last": index.num_bars} | context
    return cut_hole(index, start, np.array(cells), **bounds)


def words(ids: np.ndarray) -> str:
    """Tokens in words, without the values that do not matter here."""
    skip = {
        TokenType.VEL,
        TokenType.DUR,
        TokenType.PROG,
        TokenType.TEMPO,
        TokenType.NUM,
        TokenType.DEN,
    }
    return " ".join(
        V.describe(token).partition(" (")[0]
        for token in ids.tolist()
        if V.types[token] not in skip
    )  # fmt: skip


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_splitting_a_written_hole_returns_the_same_hole(seed: int) -> None:
    hole = random_hole(TOKENIZER, seed)
    again = split_hole(write_hole(hole, V).ids, V)
    for name in ("prefix", "fill", "suffix", "cells"):
        np.testing.assert_array_equal(getattr(again, name), getattr(hole, name), err_msg=name)
    assert again.suffix_first == hole.suffix_first


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_a_model_may_write_what_is_scored_and_nothing_else_is_scored(seed: int) -> None:
    stream = write_hole(random_hole(TOKENIZER, seed), V)
    grammar = TOKENIZER.grammar()
    for token, scored in zip(stream.ids.tolist(), stream.scored.tolist(), strict=True):
        if scored:
            assert grammar.allowed()[token]
        grammar.advance(token)
    assert grammar.finished


def test_the_stream_of_a_hole_is_prefix_suffix_and_the_bars_to_write() -> None:
    stream = write_hole(hole_of(two_parts(), 1, [[True, True], [True, True]]), V)
    assert words(stream.ids) == (
        "BOS PART 0 PART 1 BAR PART 0 PITCH C4 PART 1 PITCH C2 "
        "SUFFIX BAR PART 0 PITCH D#4 PART 1 PITCH D#2 "
        "FILL 2 BAR PART 0 PITCH C#4 PART 1 PITCH C#2 BAR PART 0 PITCH D4 PART 1 PITCH D2 EOS"
    )
    assert words(stream.ids[stream.scored]) == (
        "PART 0 PITCH C#4 PART 1 PITCH C#2 BAR PART 0 PITCH D4 PART 1 PITCH D2 EOS"
    )


def test_parts_that_stay_are_given_bar_by_bar_and_not_scored() -> None:
    stream = write_hole(hole_of(two_parts(), 1, [[False, True], [False, True]], last=3), V)
    assert words(stream.ids).partition("FILL")[2] == (
        " 2 PART 1 BAR GIVEN PART 0 PITCH C#4 WRITE PART 1 PITCH C#2 "
        "BAR GIVEN PART 0 PITCH D4 WRITE PART 1 PITCH D2 EOS"
    )
    assert words(stream.ids[stream.scored]) == "PART 1 PITCH C#2 BAR PART 1 PITCH D2 EOS"


def test_a_part_that_is_given_in_some_bars_only_is_listed_there() -> None:
    stream = write_hole(hole_of(two_parts(), 1, [[True, True], [True, False]], last=3), V)
    assert words(stream.ids).partition("FILL")[2] == (
        " 2 BAR PART 0 PITCH C#4 PART 1 PITCH C#2 "
        "BAR GIVEN PART 1 PART 1 PITCH D2 WRITE PART 0 PITCH D4 EOS"
    )


def test_the_suffix_can_stand_in_front_of_the_prefix() -> None:
    index = BarIndex(two_parts(), TOKENIZER)
    cells = np.ones((1, 2), dtype=bool)
    stream = write_hole(cut_hole(index, 1, cells, first=0, last=3, suffix_first=True), V)
    assert words(stream.ids).startswith(
        "BOS PART 0 PART 1 SUFFIX BAR PART 0 PITCH D4 PART 1 PITCH D2 PREFIX BAR PART 0 PITCH C4 "
    )


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_no_note_of_a_hole_sounds_beyond_its_end(seed: int) -> None:
    hole = random_hole(TOKENIZER, seed)
    end = int(bar_ends(read_whole(hole.fill, V), V)[1][-1])
    assert (
        max((note[2] + note[3] for note in notes_of(TOKENIZER.decode(hole.fill))), default=0) <= end
    )


def test_a_note_that_sounds_beyond_the_hole_is_shortened_to_its_end() -> None:
    score = symusic.Score(96)
    track = symusic.Track("", 0)
    track.notes.extend([symusic.Note(0, 96, 60, 80), symusic.Note(288, 600, 62, 80)])
    track.notes.append(symusic.Note(1152, 96, 64, 80))
    score.tracks.append(track)
    hole = hole_of(TOKENIZER.encode(score), 0, [[True]])
    assert [note[2:5] for note in notes_of(TOKENIZER.decode(hole.fill))] == [
        (0, 96, 60), (288, 96, 62),
    ]  # fmt: skip


def test_a_hole_has_at_most_8_bars() -> None:
    with pytest.raises(InputError, match="1 to 8 bars, got 9: fill longer passages"):
        hole_of(two_parts(10), 0, [[True, True]] * 9)


def test_a_hole_without_anything_to_write_is_refused() -> None:
    with pytest.raises(InputError, match="nothing is to be written"):
        hole_of(two_parts(), 0, [[False, False]])


def test_a_hole_outside_the_piece_is_refused() -> None:
    with pytest.raises(InputError, match=r"\[3, 5\) .* not in this piece of 4 bars"):
        hole_of(two_parts(), 3, [[True, True]] * 2, last=5)


def test_a_piece_is_no_stream_with_a_hole() -> None:
    with pytest.raises(InputError, match="no stream with a hole"):
        split_hole(two_parts(), V)


def test_the_controls_of_a_hole_are_measured_by_hand() -> None:
    # Two bars of 4 quarters with a note a bar in each of two parts: 4 notes in 8 quarters.
    levels = measure_hole(hole_of(two_parts(), 1, [[True, True]] * 2), V)
    assert levels[None][TokenType.DENSITY] == 1
    assert levels[PIANO][TokenType.DENSITY] == levels[BASS][TokenType.DENSITY] == 0
    # Two notes sound whenever any does; their mean pitch is (61 + 62 + 37 + 38) / 4 = 49.5.
    assert levels[None][TokenType.POLYPHONY] == 2
    assert levels[None][TokenType.REGISTER] == 2
    # C# to D is a step, and no other bar has the pitch classes of these two.
    assert levels[None][TokenType.LEAPS] == 0
    assert levels[None][TokenType.SIMILARITY] == 0


def test_a_repeated_bar_is_measured_as_a_repetition() -> None:
    score = symusic.Score(96)
    track = symusic.Track("", 0)
    for bar in range(3):
        for beat, pitch in enumerate((60, 64, 67, 72)):
            track.notes.append(symusic.Note(384 * bar + 96 * beat, 96, pitch, 80))
    score.tracks.append(track)
    levels = measure_hole(hole_of(TOKENIZER.encode(score), 1, [[True]]), V)
    assert levels[None][TokenType.SIMILARITY] == 2
    assert levels[None][TokenType.KEY] == 0
    # C E G C': two thirds and a fourth are leaps.
    assert levels[None][TokenType.LEAPS] == 4


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_controls_stand_behind_fill_and_come_back(seed: int) -> None:
    hole = random_hole(TOKENIZER, seed)
    levels = measure_hole(hole, V)
    hole = hole.with_controls(levels)
    again = split_hole(write_hole(hole, V).ids, V)
    assert again.controls == levels


def test_a_hole_can_be_cut_out_of_silence() -> None:
    header = BarIndex(two_parts(), TOKENIZER).header_at(0)
    ids = np.concatenate([header, np.full(3, V.BAR, dtype=np.uint16)])
    hole = hole_of(ids, 1, [[True, True]])
    assert words(write_hole(hole, V).ids) == "BOS PART 0 PART 1 BAR SUFFIX BAR FILL 1 BAR EOS"
