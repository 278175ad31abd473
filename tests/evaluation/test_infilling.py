"""Figures of holes: computed by hand, and for every method on small pieces."""

import math

import numpy as np
import pytest
import symusic

from rwkv_music.data.pieces import Piece
from rwkv_music.errors import InputError
from rwkv_music.evaluation.infilling import (
    METHODS,
    PartNotes,
    evaluate_holes,
    hole_tasks,
    notes_in,
    with_notes,
)
from rwkv_music.evaluation.infilling_figures import compare
from rwkv_music.tokenizer import Tokenizer
from tests.generation.test_continuation import model

TOKENIZER = Tokenizer()


def notes(*rows: tuple[int, int, int]) -> PartNotes:
    """Notes as (onset, duration, pitch) with one velocity, at 4 ticks a quarter."""
    columns = [np.array(column, dtype=np.int64) for column in zip(*rows, strict=True)]
    return PartNotes(*columns, np.full(len(rows), 80))


def piece(name: str, bars: int = 12) -> Piece:
    """Piano and bass in quarters, with pitches that depend on the name."""
    score = symusic.Score(96)
    for program, pitch in ((0, 60), (33, 36)):
        track = symusic.Track("", program)
        for beat in range(4 * bars):
            step = (beat * len(name)) % 7
            track.notes.append(symusic.Note(96 * beat, 96, pitch + step, 80))
        score.tracks.append(track)
    return Piece(name=name, ids=TOKENIZER.encode(score), group=name)


def test_the_figures_of_a_hole_are_those_computed_by_hand() -> None:
    # Quarters C, E, G, C against C, E a sixteenth late, G, and nothing.
    truth = {0: notes((0, 4, 60), (4, 4, 64), (8, 4, 67), (12, 4, 72))}
    written = {0: notes((0, 4, 60), (5, 3, 64), (8, 4, 55))}
    figures = compare(truth, written, 16, 4, 1.5)
    assert figures.onset_f1 == pytest.approx(2 * 2 / 7)
    assert figures.note_f1 == pytest.approx(2 * 1 / 7)
    # The same pitch classes in the first three beats, nothing in the last.
    assert figures.chroma_similarity == pytest.approx(3 / 4)
    assert figures.density_error == pytest.approx(1 / 4)
    assert figures.nats_per_note_behind == 1.5


def test_drums_have_no_chroma() -> None:
    drums = {0: notes((0, 4, 36))}
    assert math.isnan(compare(drums, drums, 16, 4, 1.0, drums=[0]).chroma_similarity)


def test_a_task_has_its_hole_in_the_middle_of_a_window() -> None:
    tasks = hole_tasks(
        [piece("a", 20), piece("bb", 20)], TOKENIZER, bars=2, one_part=True, number=9
    )
    assert [task.bars for task in tasks] == [(5, 6), (5, 6)]
    assert [task.tracks for task in tasks] == [(0,), (1,)]
    assert tasks[0].span == (4 * 384, 6 * 384)
    assert len(tasks[0].truth()[0].onsets) == 8


def test_the_true_notes_make_the_window_again() -> None:
    (task,) = hole_tasks([piece("abc")], TOKENIZER, bars=2, one_part=False, number=1)
    again = with_notes(task, task.truth())
    for before, after in zip(task.score.tracks, again.tracks, strict=True):
        assert sorted((n.time, n.pitch) for n in after.notes) == [
            (note.time, note.pitch) for note in before.notes
        ]


def test_notes_are_cut_at_the_end_of_the_hole() -> None:
    (task,) = hole_tasks([piece("abc")], TOKENIZER, bars=2, one_part=False, number=1)
    assert notes_in(task.score, 0, 0, 48).durations.tolist() == [48]
    assert not len(notes_in(task.score, 5, 0, 48).onsets)


def test_every_method_is_measured_and_a_copy_of_a_repeating_piece_is_perfect() -> None:
    # With the name of 7 letters every beat has the same pitch.
    tasks = hole_tasks([piece("samenow"), piece("bb")], TOKENIZER, bars=1, one_part=True, number=2)
    figures = evaluate_holes(model(), tasks[:1], seed=1)
    assert set(figures) == {*METHODS, "truth"}
    assert figures["bars before"]["note_f1"] == 1.0
    assert figures["bars before"]["density_error"] == 0.0
    behind = figures["truth"]["nats_per_note_behind"]
    assert figures["bars before"]["nats_per_note_behind"] == pytest.approx(behind, abs=1e-3)
    assert figures["truth"]["nats_per_note_of_hole"] > 0


def test_pieces_that_are_too_short_are_refused() -> None:
    with pytest.raises(InputError, match="no piece has 10 bars"):
        hole_tasks([piece("a", 5)], TOKENIZER, bars=2, one_part=False, number=3)
