"""Augmented examples equal the tokenizer's ids of the changed music."""

from typing import Any

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
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import BarIndex, Tokenizer
from rwkv_music.tokenizer.token_editing import without_part
from tests.music import tune
from tests.tokens import notes_of, random_score

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


def test_ids_with_another_program_are_those_of_the_tokenizer() -> None:
    changed = replace_program(TOKENIZER.encode(with_drums(tune(bars=2))), 52, VOCABULARY)
    expected = TOKENIZER.encode(with_drums(tune(bars=2, program=52)))
    np.testing.assert_array_equal(changed, expected)


def test_different_programs_are_not_changed() -> None:
    score = tune(bars=2)
    score.tracks[1].program = 40
    ids = TOKENIZER.encode(score)
    np.testing.assert_array_equal(replace_program(ids, 52, VOCABULARY), ids)


def test_ids_with_a_scaled_tempo_are_those_of_the_tokenizer() -> None:
    changed = scale_tempo(TOKENIZER.encode(tune(bars=2, qpm=100)), 1.2, VOCABULARY)
    np.testing.assert_array_equal(changed, TOKENIZER.encode(tune(bars=2, qpm=120)))


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 2.0))
def test_scaled_tempos_change_nothing_but_the_tempos(seed: int, factor: float) -> None:
    ids = TOKENIZER.encode(random_score(np.random.default_rng(seed)))
    changed = scale_tempo(ids, factor, VOCABULARY)
    before, after = TOKENIZER.decode(ids), TOKENIZER.decode(changed)
    np.testing.assert_array_equal(TOKENIZER.encode(after), changed)
    assert notes_of(after) == notes_of(before)
    assert [tempo.time for tempo in after.tempos] == [tempo.time for tempo in before.tempos]
    if changed is not ids:
        is_whole = len(before.tempos) == 1 and abs(before.tempos[0].qpm % 1 - 0.5) > 0.499
        fastest = 511 if is_whole else 511 + 255 / 256
        expected = np.clip([tempo.qpm * factor for tempo in before.tempos], 8, fastest)
        grain = 0.5 if len(expected) == 1 else 1 / 256
        np.testing.assert_allclose(
            [tempo.qpm for tempo in after.tempos], expected, atol=grain + 3e-3
        )


@given(st.integers(8 * 256, 511 * 256), st.floats(0.1, 10))
def test_every_scaled_tempo_is_in_the_vocabulary(steps: int, factor: float) -> None:
    score = tune(bars=1)
    score.tempos[0].mspq = round(60_000_000 * 256 / steps)
    score.tempos.append(symusic.Tempo(96, qpm=77.7))
    changed = scale_tempo(TOKENIZER.encode(score), factor, VOCABULARY)
    np.testing.assert_array_equal(TOKENIZER.encode(TOKENIZER.decode(changed)), changed)


def test_the_fastest_tempos_are_clipped() -> None:
    ids = TOKENIZER.encode(tune(bars=1, qpm=511.5))
    np.testing.assert_array_equal(scale_tempo(ids, 1.0, VOCABULARY), ids)
    twice = scale_tempo(TOKENIZER.encode(tune(bars=1, qpm=400)), 2.0, VOCABULARY)
    np.testing.assert_array_equal(twice, TOKENIZER.encode(tune(bars=1, qpm=511)))


def test_two_scaled_tempos_equal_values_by_hand() -> None:
    score = tune(bars=2, qpm=100)
    score.tempos.append(symusic.Tempo(96, qpm=90.0))
    back = TOKENIZER.decode(scale_tempo(TOKENIZER.encode(score), 1.25, VOCABULARY))
    np.testing.assert_allclose([tempo.qpm for tempo in back.tempos], [125.0, 112.5], atol=1e-3)


def test_tempos_that_would_become_equal_are_not_scaled() -> None:
    score = tune(bars=2, qpm=300)
    score.tempos.append(symusic.Tempo(96, qpm=400.0))
    ids = TOKENIZER.encode(score)
    np.testing.assert_array_equal(scale_tempo(ids, 2.0, VOCABULARY), ids)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(-40, 40))
def test_shifted_velocities_change_nothing_but_the_velocities(seed: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    score = random_score(rng)
    for track in score.tracks:  # notes of one pitch at one moment, in all orders
        for note in list(track.notes)[:5]:
            duration, velocity = int(rng.integers(1, 48)), 4 * int(rng.integers(1, 32))
            track.notes.append(symusic.Note(note.time, duration, note.pitch, velocity))
    ids = TOKENIZER.encode(score)
    changed = shift_velocity(ids, bins, VOCABULARY)
    before, after = TOKENIZER.decode(ids), TOKENIZER.decode(changed)
    np.testing.assert_array_equal(TOKENIZER.encode(after), changed)
    levels = np.arange(1, 33)
    moved = dict(
        zip(
            np.minimum(4 * levels, 127).tolist(),
            np.minimum(4 * np.clip(levels + bins, 1, 32), 127).tolist(),
            strict=True,
        )
    )
    assert notes_of(after) == sorted((*note[:5], moved[note[5]]) for note in notes_of(before))
    if all(1 <= (note[5] + 1) // 4 + bins <= 32 for note in notes_of(before)):
        np.testing.assert_array_equal(shift_velocity(changed, -bins, VOCABULARY), ids)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_ids_without_a_part_are_those_of_the_tokenizer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = TOKENIZER.encode(random_score(rng, ticks=480, free=True))
    score = TOKENIZER.decode(ids)
    part = int(rng.integers(len(score.tracks)))
    changed = without_part(ids, part, VOCABULARY)
    rest = [track for index, track in enumerate(score.tracks) if index != part]
    if changed is ids:
        fewer = score.copy()
        fewer.tracks = rest
        bars = TOKENIZER.num_bars(TOKENIZER.encode(fewer)) if fewer.note_num() else 0
        # The last bar would be empty, or the last tempo unheard.
        assert bars < TOKENIZER.num_bars(ids) or len(score.tempos) > 1
        return
    back = TOKENIZER.decode(changed)
    np.testing.assert_array_equal(TOKENIZER.encode(back), changed)
    assert [notes_of_track(track) for track in back.tracks] == [
        notes_of_track(track) for track in rest
    ]
    assert TOKENIZER.num_bars(changed) == TOKENIZER.num_bars(ids)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_a_window_without_a_part_is_a_window_of_the_piece_without_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = TOKENIZER.encode(random_score(rng, ticks=480, free=True))
    part = int(rng.integers(len(TOKENIZER.decode(ids).tracks)))
    piece = without_part(ids, part, VOCABULARY)
    index = BarIndex(ids, TOKENIZER)
    start = int(rng.integers(index.num_bars))
    stop = int(rng.integers(start + 1, index.num_bars + 1))
    window = index.window(start, stop).ids
    changed = without_part(window, part, VOCABULARY)
    if piece is not ids and changed is not window:
        expected = BarIndex(piece, TOKENIZER).window(start, stop).ids
        np.testing.assert_array_equal(changed, expected)


def test_a_missing_part_is_refused() -> None:
    with pytest.raises(InputError, match="part 2 does not exist: the stream has 2, counted from 0"):
        without_part(TOKENIZER.encode(tune(bars=1)), 2, VOCABULARY)
    with pytest.raises(InputError, match="the ids are not a token stream"):
        without_part(TOKENIZER.encode(tune(bars=1))[1:], 0, VOCABULARY)


def notes_of_track(track: symusic.Track) -> list[tuple[int, ...]]:
    return sorted((n.time, n.duration, n.pitch, n.velocity) for n in track.notes)


def test_the_completion_begins_with_the_same_bar() -> None:
    score = tune(bars=6, parts=3)
    score.tempos.append(symusic.Tempo(96, qpm=90.3))
    windows = BarIndex(TOKENIZER.encode(score), TOKENIZER).window(1, 5, completion_bar=3)
    example = Example(ids=windows.ids, completion_start=windows.completion_start)
    augment = RandomAugmentation(vocabulary=VOCABULARY, drop_fraction=0.7)
    generator = np.random.default_rng(0)
    lengths = set()
    for _ in range(40):
        changed = augment(example, generator)
        assert changed.ids[changed.completion_start] == VOCABULARY.BAR
        assert TOKENIZER.num_bars(changed.ids[: changed.completion_start]) == 2
        lengths.add(len(changed.ids))
    assert len(lengths) > 3


def test_tempos_of_another_length_move_the_completion_start() -> None:
    """100.852 becomes 81 and 120 becomes 96.38: one fraction less, one more, as many tokens."""
    score = tune(bars=4, qpm=25818 / 256)
    score.tempos.append(symusic.Tempo(3 * 384, qpm=120.0))
    ids = TOKENIZER.encode(score)
    seam = int(np.flatnonzero(ids == VOCABULARY.BAR)[2])
    factor = 20736 / 25818
    augment = RandomAugmentation(vocabulary=VOCABULARY, tempo_range=(factor, factor))
    changed = augment(Example(ids=ids, completion_start=seam), np.random.default_rng(0))
    assert len(changed.ids) == len(ids)
    assert changed.completion_start == seam - 1
    assert changed.ids[changed.completion_start] == VOCABULARY.BAR


def test_shifted_velocity_bins_are_clipped() -> None:
    ids = TOKENIZER.encode(tune(bars=1))
    louder = TOKENIZER.decode(shift_velocity(ids, 3, VOCABULARY))
    loudest = TOKENIZER.decode(shift_velocity(ids, 99, VOCABULARY))
    assert {note.velocity for note in louder.tracks[0].notes} == {92}
    assert {note.velocity for note in loudest.tracks[0].notes} == {
        TOKENIZER.decode(shift_velocity(ids, 50, VOCABULARY)).tracks[0].notes[0].velocity
    }


def test_random_augmentation_keeps_ids_canonical_and_pitches_in_range() -> None:
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


def test_a_piece_outside_the_range_is_not_transposed() -> None:
    augment = RandomAugmentation(vocabulary=VOCABULARY, lowest_pitch=60, highest_pitch=61)
    example = Example(ids=TOKENIZER.encode(tune(bars=2)), completion_start=10)
    changed = augment(example, np.random.default_rng(1))
    pitched = VOCABULARY.pitch
    for before, after in zip(example.ids, changed.ids, strict=True):
        assert before == after or before not in pitched


def test_changes_out_of_range_are_refused() -> None:
    ids = TOKENIZER.encode(tune(bars=2, low=40))
    pitches = [note.pitch for track in TOKENIZER.decode(ids).tracks for note in track.notes]
    up, down = 127 - max(pitches), min(pitches)
    message = (
        f"pitches {down} to {max(pitches)} cannot be transposed by {up + 1} .* by -{down} to {up}"
    )
    with pytest.raises(InputError, match=message):
        transpose_ids(ids, up + 1, VOCABULARY)
    with pytest.raises(InputError, match=f"by -{down + 1} semitones"):
        transpose_ids(ids, -down - 1, VOCABULARY)
    moved = TOKENIZER.decode(transpose_ids(ids, up, VOCABULARY))
    assert max(note.pitch for track in moved.tracks for note in track.notes) == 127
    for program in (-1, 128):
        with pytest.raises(InputError, match=f"program {program} does not exist: give one from 0"):
            replace_program(ids, program, VOCABULARY)
    for factor in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(
            InputError, match=f"factor must be a finite number above 0, got {factor}"
        ):
            scale_tempo(ids, factor, VOCABULARY)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"tempo_range": (0.0, 1.0)}, r"tempo_range is \(0.0, 1.0\): give the smallest factor"),
        ({"tempo_range": (2.0, 1.0)}, "tempo_range is"),
        ({"drop_fraction": 1.5}, r"drop_fraction must be in \[0, 1\], got 1.5"),
        ({"program_fraction": -0.5}, r"program_fraction must be in \[0, 1\], got -0.5"),
        ({"max_semitones": -1}, "max_semitones must be at least 0, got -1"),
        ({"max_velocity_bins": -2}, "max_velocity_bins must be at least 0, got -2"),
    ],
)
def test_impossible_augmentation_settings_are_refused(setting: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        RandomAugmentation(vocabulary=VOCABULARY, **setting)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0.6, 1.6))
def test_scaling_back_restores_the_tempo(seed: int, factor: float) -> None:
    ids = TOKENIZER.encode(random_score(np.random.default_rng(seed)))
    changed = scale_tempo(ids, factor, VOCABULARY)
    first, last = (TOKENIZER.decode(tempo).tempos for tempo in (ids, changed))
    if changed is ids or not all(10 <= tempo.qpm <= 500 for tempo in (*first, *last)):
        return  # equal tempos stay, and the ends hold
    back = TOKENIZER.decode(scale_tempo(changed, 1 / factor, VOCABULARY)).tempos
    grain = 0.5 if len(first) == 1 else 1 / 256
    np.testing.assert_allclose(
        [tempo.qpm for tempo in back],
        [tempo.qpm for tempo in first],
        atol=(1 + 1 / factor) * grain + 0.01,
    )


@pytest.mark.parametrize("semitones", [-5, 0, 5])
def test_transposing_does_not_change_its_input(semitones: int) -> None:
    ids = TOKENIZER.encode(tune(bars=1))
    before = ids.copy()
    transpose_ids(ids, semitones, VOCABULARY)
    np.testing.assert_array_equal(ids, before)
