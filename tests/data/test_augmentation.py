"""Augmented examples are what the tokenizer would have written for the changed music."""

import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.data import Example
from rwkv_music.data.augmentation import (
    RandomAugmentation,
    replace_program,
    scale_tempo,
    shift_velocity,
    transpose_ids,
)
from rwkv_music.tokenizer import Tokenizer
from tests.music import tune

TOKENIZER = Tokenizer()
VOCABULARY = TOKENIZER.vocabulary


def with_drums(score: symusic.Score) -> symusic.Score:
    drums = symusic.Track("drums", 0, True)
    drums.notes.append(symusic.Note(0, 96, 36, 80))
    score.tracks.append(drums)
    return score


@settings(max_examples=15)
@given(semitones=st.integers(-12, 12), seed=st.integers(0, 99))
def test_transposed_ids_are_the_ids_of_the_transposed_score(semitones: int, seed: int) -> None:
    score = with_drums(tune(bars=3, seed=seed))
    moved = with_drums(tune(bars=3, seed=seed, low=40 + semitones))
    changed = transpose_ids(TOKENIZER.encode(score), semitones, VOCABULARY)
    np.testing.assert_array_equal(changed, TOKENIZER.encode(moved))
    back = transpose_ids(changed, -semitones, VOCABULARY)
    np.testing.assert_array_equal(back, TOKENIZER.encode(score))


def test_a_new_program_is_what_the_tokenizer_writes_for_it() -> None:
    changed = replace_program(TOKENIZER.encode(with_drums(tune(bars=2))), 52, VOCABULARY)
    expected = TOKENIZER.encode(with_drums(tune(bars=2, program=52)))
    np.testing.assert_array_equal(changed, expected)


def test_different_programs_stay_since_parts_are_ordered_by_them() -> None:
    score = tune(bars=2)
    score.tracks[1].program = 40
    ids = TOKENIZER.encode(score)
    np.testing.assert_array_equal(replace_program(ids, 52, VOCABULARY), ids)


def test_a_scaled_tempo_is_what_the_tokenizer_writes_for_it() -> None:
    changed = scale_tempo(TOKENIZER.encode(tune(bars=2, qpm=100)), 1.2, VOCABULARY)
    np.testing.assert_array_equal(changed, TOKENIZER.encode(tune(bars=2, qpm=120)))


def test_two_tempos_stay() -> None:
    score = tune(bars=2)
    score.tempos.append(symusic.Tempo(96, qpm=90.0))
    ids = TOKENIZER.encode(score)
    np.testing.assert_array_equal(scale_tempo(ids, 1.2, VOCABULARY), ids)


def test_velocity_bins_move_by_four_and_stop_at_the_loudest() -> None:
    ids = TOKENIZER.encode(tune(bars=1))
    louder = TOKENIZER.decode(shift_velocity(ids, 3, VOCABULARY))
    loudest = TOKENIZER.decode(shift_velocity(ids, 99, VOCABULARY))
    assert {note.velocity for note in louder.tracks[0].notes} == {92}
    assert {note.velocity for note in loudest.tracks[0].notes} == {
        TOKENIZER.decode(shift_velocity(ids, 50, VOCABULARY)).tracks[0].notes[0].velocity
    }


def test_random_augmentation_keeps_streams_canonical_and_pitches_in_range() -> None:
    augment = RandomAugmentation(vocabulary=VOCABULARY, lowest_pitch=50, highest_pitch=80)
    example = Example(ids=TOKENIZER.encode(tune(bars=4)), completion_start=20)
    generator = np.random.default_rng(0)
    seen = set()
    for _ in range(30):
        changed = augment(example, generator)
        assert changed.completion_start == 20
        score = TOKENIZER.decode(changed.ids)
        np.testing.assert_array_equal(TOKENIZER.encode(score), changed.ids)
        pitches = [note.pitch for track in score.tracks for note in track.notes]
        assert min(pitches) >= 50
        assert max(pitches) <= 80
        seen.add(changed.ids.tobytes())
    assert len(seen) == 30


def test_a_piece_outside_the_range_is_not_moved_further_out() -> None:
    augment = RandomAugmentation(vocabulary=VOCABULARY, lowest_pitch=60, highest_pitch=61)
    example = Example(ids=TOKENIZER.encode(tune(bars=2)), completion_start=10)
    changed = augment(example, np.random.default_rng(1))
    pitched = VOCABULARY.pitch
    for before, after in zip(example.ids, changed.ids, strict=True):
        assert before == after or before not in pitched


@pytest.mark.parametrize("semitones", [-5, 0, 5])
def test_transposing_leaves_the_original_ids_alone(semitones: int) -> None:
    ids = TOKENIZER.encode(tune(bars=1))
    before = ids.copy()
    transpose_ids(ids, semitones, VOCABULARY)
    np.testing.assert_array_equal(ids, before)
