"""What stays in a hole: some notes, tick for tick, or the rhythm."""

from collections import Counter

import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.errors import InputError
from rwkv_music.generation import Constraints, Keep, fill_score
from rwkv_music.score import bar_starts
from tests.generation.test_filling import MODEL, band
from tests.tokens import random_score

Row = tuple[int, int, int, int, int]


def rows(score: symusic.Score, tracks: list[int], start: int, end: int) -> Counter[Row]:
    """Track, onset, duration, pitch and velocity of the notes of some tracks in [start, end)."""
    return Counter(
        (index, note.time, note.duration, note.pitch, note.velocity)
        for index in tracks
        for note in score.tracks[index].notes
        if start <= note.time < end
    )


@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.25, 0.5, 0.9, 1.0]))
def test_a_share_of_the_notes_stays_tick_for_tick(seed: int, share: float) -> None:
    score = random_score(np.random.default_rng(seed), ticks=480, free=True)
    num_bars = len(bar_starts(score)) - 1
    if num_bars < 2:
        return
    tracks = list(range(min(2, len(score.tracks))))
    (piece,) = fill_score(
        MODEL, score, bars=(2, min(num_bars, 4)), parts=tracks, candidates=1, keep=Keep(share=share)
    )
    before = rows(score, tracks, piece.continuation_start, piece.end)
    after = rows(piece.score, tracks, piece.continuation_start, piece.end)
    # A share is rounded, and notes that are equal on the grid count once.
    positions = {row[:2] + row[3:4] for row in before}
    assert len({row[:2] + row[3:4] for row in before & after}) >= round(share * len(positions)) - 2


def test_a_variation_has_at_most_as_many_notes_in_each_bar_and_part() -> None:
    score = band()
    for piece in fill_score(
        MODEL, score, bars=(2, 5), parts=[0, 1, 2], candidates=4, keep=Keep(share=0.4)
    ):
        for track in range(3):
            for start in range(1440, 7200, 1440):
                assert rows(piece.score, [track], start, start + 1440).total() <= 3


def test_the_notes_that_are_named_stay_and_the_others_are_written_anew() -> None:
    score = band()
    score.tracks[1].notes[6].duration = 433
    score.tracks[1].notes[6].velocity = 77
    note = (1, 2880, 41)
    for seed in range(8):
        (piece,) = fill_score(
            MODEL, score, bars=(3, 4), parts=["Bass"], candidates=1, seed=seed,
            keep=Keep(notes=[note]),
        )  # fmt: skip
        after = rows(piece.score, [1], 2880, 5760)
        assert after[(1, 2880, 433, 41, 77)] == 1
        assert after != rows(score, [1], 2880, 5760)


def test_the_rhythm_stays_and_pitches_are_new() -> None:
    score = band()
    pieces = fill_score(
        MODEL, score, bars=(3, 5), parts=["Lead", "Bass"], candidates=4, keep=Keep(rhythm=True)
    )
    for piece in pieces:
        for track in (0, 1):
            old, new = (
                [
                    (note.time, note.duration, note.velocity)
                    for note in music.tracks[track].notes
                    if 2880 <= note.time < 7200
                ]
                for music in (score, piece.score)
            )
            assert [row[0] for row in sorted(new)] == [row[0] for row in sorted(old)]
            assert [row[1] for row in sorted(new)] == [row[1] for row in sorted(old)]
        pitches = [note.pitch for note in piece.new.tracks[1].notes]
        assert pitches != [note.pitch for note in score.tracks[1].notes[6:15]]


def test_chords_keep_their_number_of_notes() -> None:
    score = band()
    lead = score.tracks[0]
    for note in list(lead.notes):
        lead.notes.append(symusic.Note(note.time, note.duration, note.pitch - 4, 81))
        lead.notes.append(symusic.Note(note.time, note.duration, note.pitch - 7, 81))
    limits = Constraints(pitch_range={"Lead": (60, 64)})
    for piece in fill_score(
        MODEL, score, bars=(2, 3), parts=[0], candidates=3, keep=Keep(rhythm=True),
        constraints=limits,
    ):  # fmt: skip
        chords = Counter(note.time for note in piece.new.tracks[0].notes)
        assert set(chords.values()) == {3}
        assert {60, 61, 62, 63, 64} >= {note.pitch for note in piece.new.tracks[0].notes}
    with pytest.raises(InputError, match="leave no pitch for bar 1 of the rhythm"):
        fill_score(
            MODEL, score, bars=(2, 3), parts=[0], keep=Keep(rhythm=True),
            constraints=Constraints(pitch_range={"Lead": (60, 61)}),
        )  # fmt: skip


def test_what_cannot_be_kept_is_refused() -> None:
    with pytest.raises(InputError, match=r"share must be 0 to 1, got 1\.5"):
        Keep(share=1.5)
    with pytest.raises(InputError, match="keep either the rhythm or notes"):
        Keep(share=0.5, rhythm=True)
    with pytest.raises(InputError, match="no note of track 1 at tick 0 with pitch 40 in the bars"):
        fill_score(MODEL, band(), bars=(2, 2), parts=[1], keep=Keep(notes=[(1, 0, 40)]))
