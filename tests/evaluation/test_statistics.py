"""Figures of music, by hand."""

import pytest

from rwkv_music.errors import InputError
from rwkv_music.evaluation.statistics import mean_statistics, music_statistics
from tests.music import score_of, tune


def test_a_bar_and_a_half_by_hand() -> None:
    # Two notes together for a quarter, a rest of two quarters, one note in the second bar.
    row = music_statistics(score_of((0, 100, 60), (0, 200, 64), (400, 200, 61), ticks=100))
    assert (row.notes, row.notes_per_bar) == (3, 1.5)
    assert row.polyphony == pytest.approx(500 / 400)
    assert row.scale_consistency == pytest.approx(2 / 3)
    assert row.empty_bar_rate == 0
    assert row.mean_duration_quarters == pytest.approx(500 / 300)
    assert row.ends_on_bar_line


def test_bars_that_were_asked_for_and_are_not_there_count_as_empty() -> None:
    row = music_statistics(score_of((0, 100, 60), ticks=100), num_bars=4)
    assert row.empty_bar_rate == 0.75
    assert row.notes_per_bar == 0.25


def test_a_note_beyond_the_last_line_is_noticed() -> None:
    row = music_statistics(score_of((0, 500, 60), ticks=100), num_bars=1)
    assert not row.ends_on_bar_line


def test_only_the_bars_after_the_continuation_start_count() -> None:
    score = tune(bars=4)
    seam = 2 * 4 * 96
    late = sum(note.time >= seam for track in score.tracks for note in track.notes)
    assert music_statistics(score, start_tick=seam).notes == late


def test_a_scale_is_consistent_in_every_key() -> None:
    for root in range(12):
        notes = [
            (100 * index, 100, 60 + root + step)
            for index, step in enumerate((0, 2, 4, 5, 7, 9, 11))
        ]
        assert music_statistics(score_of(*notes, ticks=100)).scale_consistency == 1


def test_means_are_means() -> None:
    rows = [music_statistics(score_of(*[(0, 100, 60)] * count, ticks=100)) for count in (1, 3)]
    assert mean_statistics(rows)["notes"] == 2


def test_what_has_no_notes_or_no_line_is_refused() -> None:
    with pytest.raises(InputError, match="no pitched note begins between ticks 400 and 800"):
        music_statistics(score_of((0, 500, 60), ticks=100), start_tick=400)
    with pytest.raises(InputError, match="tick 7 is not a bar line"):
        music_statistics(score_of((0, 100, 60), ticks=100), start_tick=7)
