"""Scores and token ids: a tune written out by hand, round trips, and odd music."""

import hashlib
import itertools
from collections import Counter

import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Tokenizer, TokenType
from tests.music import score_of
from tests.tokenizer.judge import fault_of
from tests.tokens import notes_of, random_score

TOKENIZER = Tokenizer()
V = TOKENIZER.vocabulary


def words(ids: np.ndarray, tokenizer: Tokenizer = TOKENIZER) -> list[str]:
    return [tokenizer.vocabulary.describe(int(token)) for token in ids]


def test_a_tune_token_by_token() -> None:
    score = score_of((0, 480, 60), (240, 240, 64), (2400, 960, 67))
    score.tempos.append(symusic.Tempo(0, qpm=90.5))
    score.tempos.append(symusic.Tempo(480, qpm=60.0))
    drums = symusic.Track("", 0, True)
    drums.notes.append(symusic.Note(1920, 120, 36, 100))
    score.tracks.insert(0, drums)
    score.time_signatures.append(symusic.TimeSignature(0, 4, 4))
    score.time_signatures.append(symusic.TimeSignature(1920, 3, 4))
    score.tracks[1].controls.append(symusic.ControlChange(480, 64, 127))
    score.tracks[1].controls.append(symusic.ControlChange(960, 64, 0))
    ids = TOKENIZER.encode(score)
    assert words(ids) == [
        "BOS", "TEMPO 90", "TEMPO_FRACTION 128/256", "NUM 4", "DEN 4",
        "PART 0", "PROG 0", "PART 1", "PROG drums",
        "BAR", "PART 0", "PITCH C4 (60)", "VEL 80", "DUR 96/96",
        "SUBBEAT 48", "PITCH E4 (64)", "VEL 80", "DUR 48/96",
        "BEAT 1", "SUBBEAT 0", "TEMPO 60", "PED down",
        "BEAT 2", "PED up",
        "BAR", "NUM 3", "DEN 4", "PART 1", "DRUM 36", "VEL 100", "DUR 24/96",
        "BEAT 1", "PART 0", "PITCH G4 (67)", "VEL 80", "DUR 192/96",
        "EOS",
    ]  # fmt: skip
    np.testing.assert_array_equal(TOKENIZER.encode(TOKENIZER.decode(ids)), ids)


def test_a_signature_in_the_middle_of_a_bar_cuts_it() -> None:
    score = score_of((0, 240, 60), (720, 240, 62))
    score.time_signatures.append(symusic.TimeSignature(0, 4, 4))
    score.time_signatures.append(symusic.TimeSignature(720, 6, 8))
    ids = TOKENIZER.encode(score)
    assert words(ids)[6:] == [
        "BAR", "PART 0", "PITCH C4 (60)", "VEL 80", "DUR 48/96", "BEAT 1", "SUBBEAT 48",
        "BAR", "NUM 6", "DEN 8", "PITCH D4 (62)", "VEL 80", "DUR 48/96", "EOS",
    ]  # fmt: skip
    back = TOKENIZER.decode(ids)
    signs = [
        (time_signature.time, time_signature.numerator, time_signature.denominator)
        for time_signature in back.time_signatures
    ]
    assert signs == [(0, 4, 4), (144, 6, 8)]


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_decoding_gives_back_the_music_on_the_grid(seed: int) -> None:
    score = random_score(np.random.default_rng(seed))
    ids = TOKENIZER.encode(score)
    back = TOKENIZER.decode(ids)
    assert notes_of(back) == notes_of(score)
    np.testing.assert_array_equal(TOKENIZER.encode(back), ids)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([24, 120, 220, 480, 960, 1024]))
def test_an_onset_moves_by_half_a_step_at_most_and_nothing_is_lost(seed: int, ticks: int) -> None:
    score = random_score(np.random.default_rng(seed), ticks=ticks, free=True)
    back = TOKENIZER.decode(TOKENIZER.encode(score))
    before = sorted((n.pitch, n.time / ticks) for t in score.tracks for n in t.notes)
    after = sorted((n.pitch, n.time / 96) for t in back.tracks for n in t.notes)
    assert [pitch for pitch, _ in before] == [pitch for pitch, _ in after]
    moved = [abs(a - b) for (_, a), (_, b) in zip(before, after, strict=True)]
    assert max(moved) <= 0.5 / 96 + 1e-9


@settings(max_examples=100)
@given(st.lists(st.integers(-5, 2100), max_size=120))
def test_arbitrary_ids_never_raise(ids: list[int]) -> None:
    assert TOKENIZER.decode(np.array(ids, dtype=np.int64)).ticks_per_quarter == 96


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(-5, 2100), min_size=1, max_size=60))
def test_ids_between_those_of_a_piece_leave_music_that_encodes_canonically(
    seed: int, others: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    ids = TOKENIZER.encode(random_score(rng)).tolist()
    first_note = next(index for index, token in enumerate(ids) if token in V.duration)
    for other in others:
        ids.insert(int(rng.integers(first_note + 1, len(ids))), other)
    again = TOKENIZER.encode(TOKENIZER.decode(np.array(ids)))
    assert fault_of(again.tolist()) == ""
    np.testing.assert_array_equal(TOKENIZER.encode(TOKENIZER.decode(again)), again)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_a_damaged_stream_keeps_all_music_before_the_damage(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = TOKENIZER.encode(random_score(rng)).astype(np.int64)
    first_note = int(np.flatnonzero(np.isin(ids, list(V.duration)))[0])
    position = int(rng.integers(first_note + 1, len(ids)))
    kept = Counter(notes_of(TOKENIZER.decode(ids[:position])))
    ids[position] = (ids[position] + rng.integers(1, V.size)) % V.size  # another id
    ids[position + 1 :][rng.random(len(ids) - position - 1) < 0.1] = 4  # an id without a meaning
    assert kept
    assert not kept - Counter(notes_of(TOKENIZER.decode(ids)))


def test_velocities_are_exact_at_multiples_of_four() -> None:
    score = score_of((0, 480, 60))
    for velocity, expected in ((64, 64), (80, 80), (100, 100), (127, 127), (63, 64), (3, 4)):
        score.tracks[0].notes[0].velocity = velocity
        back = TOKENIZER.decode(TOKENIZER.encode(score))
        assert back.tracks[0].notes[0].velocity == expected


@pytest.mark.parametrize("velocities", [32, 64, 128])
def test_the_velocity_error_has_the_bound_of_its_resolution(velocities: int) -> None:
    vocabulary = Tokenizer(velocities=velocities).vocabulary
    played = np.arange(2, 128)
    error = np.abs(vocabulary.velocity_value(vocabulary.velocity_level(played)) - played)
    assert error.max() == 64 // velocities


def test_durations_are_exact_to_half_a_quarter_then_within_two_percent_and_a_step() -> None:
    vocabulary = TOKENIZER.vocabulary
    assert len(vocabulary.durations) == 408
    ticks = np.arange(1, 256 * 96)
    error = np.abs(vocabulary.durations - ticks[:, None]).min(axis=1)  # of the nearest entry
    assert error[:48].max() == 0
    assert error[: 2 * 96].max() == 1
    assert error[: 16 * 96].max() == 6
    assert error.max() == 192


def test_the_vocabulary_has_the_sizes_of_its_layout() -> None:
    vocabulary = TOKENIZER.vocabulary
    assert (vocabulary.num_used, vocabulary.size) == (2048, 2048)
    assert [len(span) for span in vocabulary.ranges.values()] == [
        1, 1, 8, 1, 1, 504, 256, 128, 7, 32, 129, 128, 96, 128, 128, 32, 408, 2, 8, 6, 8, 5, 3, 24,
    ]  # fmt: skip
    every = np.arange(vocabulary.size)
    assert vocabulary.types_of(every)[[0, 1, 2, 3]].tolist() == [0, 1, 2, 3]
    assert vocabulary.types_of(np.array([1993]))[0] == TokenType.PED
    assert vocabulary.types_of(np.array([1994, 2047, 2048])).tolist() == [
        TokenType.DENSITY, TokenType.KEY, TokenType.SPARE,
    ]  # fmt: skip
    assert "DUR" in str(vocabulary)


def test_a_vocabulary_without_room_for_the_controls_does_without() -> None:
    vocabulary = Tokenizer(max_parts=8).vocabulary
    assert not vocabulary.has_controls
    assert (vocabulary.num_used, vocabulary.size) == (1970, 1984)
    assert vocabulary.types_of(np.array([1970]))[0] == TokenType.SPARE


def test_tracks_of_one_program_stay_apart_and_drums_come_last() -> None:
    score = score_of((0, 480, 60), program=40)
    for program, is_drum, pitch in ((0, True, 36), (5, False, 50), (40, False, 70)):
        track = symusic.Track("", program, is_drum)
        track.notes.append(symusic.Note(0, 480, pitch, 80))
        score.tracks.append(track)
    back = TOKENIZER.decode(TOKENIZER.encode(score))
    rows = [(track.program, track.is_drum, track.notes[0].pitch) for track in back.tracks]
    assert rows == [(5, False, 50), (40, False, 60), (40, False, 70), (0, True, 36)]
    assert TOKENIZER.part_order(score) == [2, 0, 3, 1]


def test_a_retaken_pedal_is_kept_and_a_redundant_one_is_not() -> None:
    score = score_of((0, 480, 60), (1920, 480, 60))
    for time, value in ((0, 127), (480, 100), (960, 0), (960, 127), (1440, 0), (1500, 10)):
        score.tracks[0].controls.append(symusic.ControlChange(time, 64, value))
    back = TOKENIZER.decode(TOKENIZER.encode(score))
    switches = [(control.time, control.value) for control in back.tracks[0].controls]
    assert switches == [(0, 127), (192, 0), (192, 127), (288, 0)]


def test_too_many_parts_are_merged_by_program_without_losing_a_note() -> None:
    score = symusic.Score(96)
    for index, program in enumerate([0] * 20 + [40] * 15):
        track = symusic.Track("", program, False)
        track.notes.append(symusic.Note(96 * index, 96, 40 + index, 80))
        score.tracks.append(track)
    tokenizer = Tokenizer(max_parts=32)
    assert tokenizer.part_order(score) == [*range(17), *range(20, 35)]
    assert tokenizer.merged_parts(score) == {0: [16, 17, 18, 19]}
    back = tokenizer.decode(tokenizer.encode(score))
    assert notes_of(back) == notes_of(score)
    assert [len(track.notes) for track in back.tracks] == [1] * 16 + [4] + [1] * 15
    few = Tokenizer(max_parts=2)
    assert few.merged_parts(score) == {0: [*range(20)], 40: [*range(20, 35)]}
    assert notes_of(few.decode(few.encode(score))) == notes_of(score)
    assert tokenizer.merged_parts(score_of((0, 480, 60))) == {}


def test_the_pedal_of_merged_parts_is_down_while_any_of_them_is() -> None:
    score = symusic.Score(96)
    for down, up in ((0, 96), (48, 192), (960, 1000)):
        track = symusic.Track("", 0, False)
        track.notes.append(symusic.Note(1000, 96, 60, 80))
        track.controls.append(symusic.ControlChange(down, 64, 127))
        track.controls.append(symusic.ControlChange(up, 64, 0))
        score.tracks.append(track)
    tokenizer = Tokenizer(max_parts=1)
    back = tokenizer.decode(tokenizer.encode(score))
    switches = [(control.time, control.value) for control in back.tracks[0].controls]
    assert switches == [(0, 127), (192, 0), (960, 127), (1000, 0)]


def test_a_press_of_less_than_a_step_lasts_one() -> None:
    score = score_of((0, 480, 60), (1920, 480, 60))
    for time, value in ((481, 127), (482, 0), (960, 127), (1439, 0), (1440, 127), (1441, 0)):
        score.tracks[0].controls.append(symusic.ControlChange(time, 64, value))
    ids = TOKENIZER.encode(score)
    back = TOKENIZER.decode(ids)
    switches = [(control.time, control.value) for control in back.tracks[0].controls]
    assert switches == [(96, 127), (97, 0), (192, 127), (288, 0), (288, 127), (289, 0)]
    np.testing.assert_array_equal(TOKENIZER.encode(back), ids)


def switched(*moved: tuple[int, int]) -> list[tuple[int, int]]:
    """When the pedal goes which way after encoding and decoding, for ticks and values at 480."""
    score = score_of((0, 480, 60), (1920, 480, 60))
    for time, value in moved:
        score.tracks[0].controls.append(symusic.ControlChange(time, 64, value))
    ids = TOKENIZER.encode(score)
    back = TOKENIZER.decode(ids)
    np.testing.assert_array_equal(TOKENIZER.encode(back), ids)
    return [(control.time, control.value) for control in back.tracks[0].controls]


def test_three_switches_within_a_step_are_kept() -> None:
    assert switched((480, 127), (481, 0), (482, 127), (960, 0)) == [
        (96, 127), (97, 0), (97, 127), (192, 0),
    ]  # fmt: skip
    assert switched((480, 127), (960, 0), (961, 127), (962, 0)) == [
        (96, 127), (192, 0), (192, 127), (193, 0),
    ]  # fmt: skip


def test_a_delayed_switch_delays_the_next_one() -> None:
    # Step 96 holds a press, a lift and a press, step 97 a lift: that one follows a press at 97.
    assert switched((480, 127), (481, 0), (482, 127), (485, 0), (960, 127), (970, 0)) == [
        (96, 127), (97, 0), (97, 127), (98, 0), (192, 127), (194, 0),
    ]  # fmt: skip


def test_of_more_than_three_switches_within_a_step_an_even_number_is_left_out() -> None:
    flutter = [(480, 127), *((480, value) for _ in range(50) for value in (0, 127))]
    assert switched(*flutter, (960, 0)) == [(96, 127), (97, 0), (97, 127), (192, 0)]
    assert switched(*flutter[:-1], (960, 127)) == [(96, 127), (97, 0), (192, 127)]


@settings(max_examples=60)
@given(st.lists(st.integers(0, 12), max_size=30))
def test_switches_are_delayed_as_documented(steps: list[int]) -> None:
    """One switch after the other, by the rule as it is written in the documentation."""
    moved = [(5 * step, 127 * (index % 2 == 0)) for index, step in enumerate(sorted(steps))]
    expected: list[tuple[int, int]] = []
    for step in range(13):
        group = [(time // 5, value) for time, value in moved if time == 5 * step]
        for time, value in group[: 3 if len(group) % 2 else 2]:
            before = expected[-1][0] if expected else 0
            expected.append((max(time, before + (not value and bool(expected))), value))
    assert switched(*moved) == expected


def test_notes_of_no_duration_last_one_step() -> None:
    back = TOKENIZER.decode(TOKENIZER.encode(score_of((0, 0, 60), (480, 1, 62))))
    assert [(note.time, note.duration) for note in back.tracks[0].notes] == [(0, 1), (96, 1)]


def test_overlapping_notes_of_one_pitch_are_kept() -> None:
    notes = ((0, 480, 60), (240, 480, 60), (240, 960, 60), (240, 960, 60))
    score = score_of(*notes)
    back = TOKENIZER.decode(TOKENIZER.encode(score))
    actual = [(note.time * 5, note.duration * 5, note.pitch) for note in back.tracks[0].notes]
    assert actual == sorted(notes)


def test_short_notes_that_touched_still_touch() -> None:
    rng = np.random.default_rng(0)
    onsets = np.concatenate([[0], np.cumsum(rng.integers(10, 235, 200))]).tolist()
    notes = [(a, b - a, 60) for a, b in itertools.pairwise(onsets)]
    back = TOKENIZER.decode(TOKENIZER.encode(score_of(*notes)))
    actual = list(back.tracks[0].notes)
    assert [note.end for note in actual[:-1]] == [note.time for note in actual[1:]]


@pytest.mark.parametrize("grid", [48, 96, 192, 480])
def test_long_durations_become_the_nearest_one(grid: int) -> None:
    tokenizer = Tokenizer(steps_per_quarter=grid)
    rng = np.random.default_rng(grid)
    durations = rng.integers(481, 300 * 960, 2000)
    score = symusic.Score(960)
    track = symusic.Track("", 0, False)
    for duration in durations.tolist():
        track.notes.append(symusic.Note(7 * len(track.notes), duration, 60, 80))
    score.tracks.append(track)
    back = tokenizer.decode(tokenizer.encode(score)).tracks[0].notes.numpy()
    table = tokenizer.vocabulary.durations / grid
    exact = np.sort(durations / 960)
    actual = np.sort(back["duration"] / grid)
    nearest = np.abs(table[:, None] - exact).min(axis=0)
    np.testing.assert_allclose(np.abs(actual - exact), nearest, atol=1e-9)


def test_music_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(InputError, match="the score has no notes, at least 1 is needed"):
        TOKENIZER.encode(symusic.Score(480))
    score = score_of((0, 480, 60))
    score.time_signatures.append(symusic.TimeSignature(0, 200, 4))
    with pytest.raises(InputError, match="time signature 200/4 cannot be written"):
        TOKENIZER.encode(score)
    many = symusic.Score(480)
    for program in range(33):
        track = symusic.Track("", program, False)
        track.notes.append(symusic.Note(0, 480, 60, 80))
        many.tracks.append(track)
    with pytest.raises(InputError, match="has 33 parts of different programs, at most 32 can be"):
        TOKENIZER.encode(many)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"steps_per_quarter": 100}, "`steps_per_quarter` must be one of .*, got 100"),
        ({"velocities": 50}, "`velocities` must be one of .*, got 50"),
        ({"max_parts": 0}, r"`max_parts` must be in \[1, 32\], got 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings_: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Tokenizer(**settings_)
    with pytest.raises(InputError, match="unknown tokenizer setting 'flavour'"):
        Tokenizer.from_settings({"flavour": 1})


def test_settings_under_their_old_names_make_the_same_tokenizer() -> None:
    old = {"ticks_per_quarter": 192, "velocities": 64, "slots": 9}
    assert Tokenizer.from_settings(old).settings == {
        "steps_per_quarter": 192,
        "velocities": 64,
        "max_parts": 9,
    }


@pytest.mark.parametrize("grid", [48, 96, 192, 480])
def test_every_grid_and_velocity_resolution_round_trips(grid: int) -> None:
    for velocities in (32, 64, 128):
        tokenizer = Tokenizer(steps_per_quarter=grid, velocities=velocities, max_parts=8)
        for seed in range(5):
            score = random_score(np.random.default_rng(seed), ticks=480, free=True, parts=4)
            ids = tokenizer.encode(score)
            np.testing.assert_array_equal(tokenizer.encode(tokenizer.decode(ids)), ids)


def test_encoding_does_not_change_the_score() -> None:
    score = random_score(np.random.default_rng(0))
    before = score.dumps_midi()
    TOKENIZER.encode(score)
    assert score.dumps_midi() == before


def test_ids_of_this_version_do_not_change() -> None:
    """If they change on purpose, increase `Tokenizer.VERSION`, which refuses old stores."""
    score = symusic.Score(480)
    for index, meter in enumerate(((4, 4), (7, 8), (3, 4))):
        score.time_signatures.append(symusic.TimeSignature(4000 * index, *meter))
        score.tempos.append(symusic.Tempo(3001 * index, mspq=500_000 + 77_777 * index))
    for part in range(40):
        track = symusic.Track("", part % 7 * 9, part % 5 == 4)
        for index in range(30):
            onset, length = 317 * index + 41 * part, (index * 53 + part * 7) % 900
            pitch, velocity = (index * 7 + part) % 128, 1 + (index * 11) % 127
            track.notes.append(symusic.Note(onset, length, pitch, velocity))
            value = 127 * (index % 2)
            track.controls.append(symusic.ControlChange(onset // 3, 64, value))
        score.tracks.append(track)
    digest = hashlib.sha256(TOKENIZER.encode(score).astype("<u2").tobytes()).hexdigest()
    assert (Tokenizer.VERSION, digest[:16]) == (2, "6d233efc3dba4e5a")
