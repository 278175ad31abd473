"""Cutting and joining scores at bar lines."""

import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.errors import InputError
from rwkv_music.score import bar_starts, num_bars, splice, split_at_bar, take_bars, transpose
from tests.music import BAR, tune
from tests.tokens import notes_of, random_score


def test_taken_bars_begin_at_tick_zero_with_the_current_tempo_meter_and_pedal() -> None:
    score = tune(bars=4)
    score.tempos.append(symusic.Tempo(BAR, qpm=70.0))
    score.time_signatures.append(symusic.TimeSignature(2 * BAR, 3, 4))
    score.tracks[0].controls.append(symusic.ControlChange(10, 64, 127))
    taken = take_bars(score, 2, 4)
    assert [(tempo.time, round(tempo.qpm)) for tempo in taken.tempos] == [(0, 70)]
    signs = [(sign.time, sign.numerator, sign.denominator) for sign in taken.time_signatures]
    assert signs == [(0, 3, 4)]
    pedals = [(control.time, control.value) for control in taken.tracks[0].controls]
    assert pedals == [(0, 127)]


def test_notes_end_at_the_last_bar_line_and_earlier_notes_are_left_out() -> None:
    score = tune(bars=2, parts=1)
    score.tracks[0].notes = [
        symusic.Note(0, 2 * BAR, 60, 80), symusic.Note(BAR + 10, 5 * BAR, 64, 80),
    ]  # fmt: skip
    taken = take_bars(score, 1, 2)
    assert [(n.time, n.duration, n.pitch) for n in taken.tracks[0].notes] == [(10, BAR - 10, 64)]


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_splitting_and_splicing_gives_the_same_music(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = random_score(rng)
    bars = num_bars(score)
    if bars < 2:
        return
    bar = int(rng.integers(1, bars))
    seam = int(bar_starts(score)[bar])
    left, right = split_at_bar(score, bar)
    joined = splice(left, right, seam)
    expected = sorted(
        (*note[:3], min(note[3], seam - note[2]) if note[2] < seam else note[3], *note[4:])
        for note in notes_of(score)
    )
    assert notes_of(joined) == expected
    # A last bar that contained only the end of a note cut by the split is removed.
    lines = bar_starts(joined)
    assert len(lines) > bar
    np.testing.assert_array_equal(lines, bar_starts(score)[: len(lines)])


def test_taking_all_bars_returns_the_whole_score() -> None:
    score = tune(bars=3)
    assert notes_of(take_bars(score, 0, 3)) == notes_of(score)


def test_spliced_notes_go_to_the_track_of_their_program() -> None:
    prompt = tune(bars=1, parts=2, program=19)
    new = tune(bars=1, seed=5, parts=2, program=19)
    extra = symusic.Track("flute", 73, False)
    extra.notes.append(symusic.Note(0, 96, 90, 80))
    new.tracks.append(extra)
    before = notes_of(prompt)
    joined = splice(prompt, new, BAR)
    assert notes_of(prompt) == before
    assert [track.program for track in joined.tracks] == [19, 19, 73]
    for index in range(2):
        own = len(prompt.tracks[index].notes) + len(new.tracks[index].notes)
        assert len(joined.tracks[index].notes) == own


def test_splicing_converts_ticks_per_quarter() -> None:
    new = symusic.Score(96)
    track = symusic.Track("", 0, False)
    track.notes.append(symusic.Note(48, 96, 60, 80))
    new.tracks.append(track)
    prompt = symusic.Score(480)
    joined = splice(prompt, new, 1920)
    note = joined.tracks[0].notes[0]
    assert (note.time, note.duration) == (1920 + 240, 480)


def test_bars_out_of_range_are_rejected() -> None:
    with pytest.raises(InputError, match=r"bars \[1, 5\) are not in this score of 3 bars"):
        take_bars(tune(bars=3), 1, 5)
    with pytest.raises(InputError, match=r"cannot split 3 bars at bar 3: choose one in \[1, 2\]"):
        split_at_bar(tune(bars=3), 3)


def test_transposing_keeps_drums_and_stays_in_range() -> None:
    score = tune(bars=1)
    drums = symusic.Track("", 0, True)
    drums.notes.append(symusic.Note(0, 96, 36, 80))
    score.tracks.append(drums)
    moved = transpose(score, 5)
    assert notes_of(transpose(moved, -5)) == notes_of(score)
    assert moved.tracks[-1].notes[0].pitch == 36
    with pytest.raises(InputError, match="outside 0 to 127: transpose by less"):
        transpose(score, 100)
