"""The tokenizer's benchmark notices what is lost, and finds nothing wrong where nothing is."""

from pathlib import Path

import numpy as np
import pytest
import symusic

from benchmarks.fidelity import compare, in_figures, wrong_cuts
from benchmarks.reports.tokenizer import tables
from rwkv_music.tokenizer import Tokenizer
from tests.benchmarks.quick import quick_report
from tests.tokens import random_score

TOKENIZER = Tokenizer()


def score_and_copy(seed: int = 0) -> tuple[symusic.Score, symusic.Score]:
    score = random_score(np.random.default_rng(seed), ticks=480, free=True)
    return score, TOKENIZER.decode(TOKENIZER.encode(score))


def test_a_round_trip_keeps_everything() -> None:
    for seed in range(10):
        actual = compare(*score_and_copy(seed), TOKENIZER)
        assert actual.notes_kept == actual.notes
        assert actual.parts_kept == actual.parts
        assert actual.signatures_kept == actual.signatures
        assert actual.pedals_kept == actual.pedals
        assert 0 < actual.onset_steps <= 0.5
        assert in_figures([actual])["velocity_max"] <= 2


def test_what_is_lost_is_counted() -> None:
    score, back = score_and_copy()
    track = back.tracks[0]
    track.notes.pop(-1)
    actual = compare(score, back, TOKENIZER)
    assert actual.notes_kept < actual.notes
    back.tracks[0].program = 99
    back.tracks[0].is_drum = False
    assert compare(score, back, TOKENIZER).parts_kept == actual.parts - 1
    back.time_signatures = [symusic.TimeSignature(0, 11, 8)]
    assert compare(score, back, TOKENIZER).signatures_kept == 0


def test_a_note_that_moved_is_seen() -> None:
    score = symusic.Score(96)
    score.tracks.append(symusic.Track("", 0, False))
    score.tracks[0].notes.append(symusic.Note(96, 96, 60, 80))
    back = TOKENIZER.decode(TOKENIZER.encode(score))
    back.tracks[0].notes[0].time = 97
    actual = compare(score, back, TOKENIZER)
    assert actual.notes_kept == 0
    assert actual.onset_steps == 1
    # A 96th of a quarter at 120 quarters a minute.
    assert actual.heard_seconds.max() == pytest.approx(0.5 / 96)


def test_cuts_of_random_music_sound_like_the_piece() -> None:
    rng = np.random.default_rng(0)
    for seed in range(10):
        ids = TOKENIZER.encode(random_score(np.random.default_rng(seed), ticks=480, free=True))
        assert wrong_cuts(ids, TOKENIZER, 5, rng) == 0


def test_quick_mode_measures_every_contestant(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("miditok", reason="MidiTok is an extra: pip install 'rwkv-music[bench]'")
    report = quick_report("tokenizer", tmp_path, str(shared_data))
    assert {row["who"] for row in report["speed"]} >= {"MidiTok REMI", "numpy"}
    for row in report["rows"].values():
        assert row["kept"]["notes"][0] == row["kept"]["notes"][1]
        assert row["idempotent"] == row["files"]
        assert row["wrong_cuts"][0] == 0
    assert len(tables(report)) == 4
