"""Bars, beats and seconds, checked by hand and against pretty_midi."""

import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.errors import InputError
from rwkv_music.score import TempoMap, bar_starts, beat_ticks, num_bars, to_pretty_midi
from tests.tokens import random_score


def score_with(*signs: tuple[int, int, int], end: int) -> symusic.Score:
    score = symusic.Score(480)
    for time, numerator, denominator in signs:
        score.time_signatures.append(symusic.TimeSignature(time, numerator, denominator))
    track = symusic.Track("", 0, False)
    track.notes.append(symusic.Note(0, end, 60, 80))
    score.tracks.append(track)
    return score


def test_the_default_is_four_four_at_120() -> None:
    score = score_with(end=1921)
    assert bar_starts(score).tolist() == [0, 1920, 3840]
    assert num_bars(score) == 2
    assert TempoMap(score).ticks_to_seconds(960).tolist() == [1.0]


def test_the_last_bar_line_is_at_or_after_the_end_of_the_last_note() -> None:
    assert bar_starts(score_with(end=1920)).tolist() == [0, 1920]
    assert num_bars(score_with(end=1)) == 1
    assert num_bars(symusic.Score(480)) == 1


def test_signatures_change_bars_and_beats() -> None:
    score = score_with((0, 3, 4), (2880, 6, 8), end=4320)
    assert bar_starts(score).tolist() == [0, 1440, 2880, 4320]
    assert beat_ticks(score).tolist() == [
        0, 480, 960, 1440, 1920, 2400, 2880, 3120, 3360, 3600, 3840, 4080,
    ]  # fmt: skip


def test_a_new_signature_inside_a_bar_cuts_it_and_a_repeated_one_does_not() -> None:
    assert bar_starts(score_with((0, 4, 4), (960, 3, 4), end=2000)).tolist() == [0, 960, 2400]
    assert bar_starts(score_with((0, 4, 4), (960, 4, 4), end=2000)).tolist() == [0, 1920, 3840]


def test_a_signature_after_the_last_note_ends_the_last_bar() -> None:
    assert bar_starts(score_with((0, 4, 4), (960, 3, 4), end=900)).tolist() == [0, 960]
    assert bar_starts(score_with((0, 4, 4), (1920, 3, 4), end=900)).tolist() == [0, 1920]
    assert bar_starts(score_with((0, 4, 4), (9600, 3, 4), end=900)).tolist() == [0, 1920]


def test_beats_continue_to_the_last_bar_line() -> None:
    assert beat_ticks(score_with(end=100)).tolist() == [0, 480, 960, 1440]


def test_a_score_with_too_many_bars_is_rejected() -> None:
    score = score_with((0, 1, 64), end=2_000_000_000)
    with pytest.raises(
        InputError, match="ends at tick 2000000000, which makes more than 250000 bars"
    ):
        bar_starts(score)


def test_a_signature_without_length_is_rejected() -> None:
    with pytest.raises(InputError, match="time signature 0/4 at tick 0 has no length"):
        bar_starts(score_with((0, 0, 4), end=100))


def test_seconds_follow_the_tempos() -> None:
    score = score_with(end=4800)
    score.tempos = [symusic.Tempo(0, qpm=60.0), symusic.Tempo(960, qpm=120.0)]
    timing = TempoMap(score)
    positions = np.array([0, 480, 960, 1920])
    assert timing.ticks_to_seconds(positions).tolist() == [0.0, 1.0, 2.0, 3.0]
    assert timing.seconds_to_ticks(np.array([0.5, 2.5])).tolist() == [240, 1440]


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_seconds_agree_with_pretty_midi(seed: int) -> None:
    score = random_score(np.random.default_rng(seed), ticks=480, free=True)
    timing = TempoMap(score)
    reference = to_pretty_midi(score)
    onsets = sorted(
        float(timing.ticks_to_seconds(note.time)[0])
        for track in score.tracks
        for note in track.notes
    )
    theirs = sorted(note.start for part in reference.instruments for note in part.notes)
    np.testing.assert_allclose(onsets, theirs, atol=1e-5)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_ticks_to_seconds_and_back_is_the_identity(seed: int) -> None:
    score = random_score(np.random.default_rng(seed), ticks=480, free=True)
    ticks = np.arange(0, 6000, 37)
    timing = TempoMap(score)
    np.testing.assert_array_equal(timing.seconds_to_ticks(timing.ticks_to_seconds(ticks)), ticks)


def test_downbeats_agree_with_pretty_midi_where_bars_are_whole() -> None:
    score = score_with((0, 3, 4), (2880, 4, 4), end=2880 + 3 * 1920)
    reference = to_pretty_midi(score).get_downbeats()
    ours = TempoMap(score).ticks_to_seconds(bar_starts(score))
    np.testing.assert_allclose(ours[: len(reference)], reference, atol=1e-6)
