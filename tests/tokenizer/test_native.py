"""The native loops return what the numpy code returns, bit for bit, and survive hostile input."""

from pathlib import Path

import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.errors import InputError
from rwkv_music.native import NativeLibrary
from rwkv_music.score import load_score
from rwkv_music.tokenizer import Tokenizer, native
from rwkv_music.tokenizer.decode import columns_with_numpy
from rwkv_music.tokenizer.encode import events_of
from rwkv_music.tokenizer.events import LAST_TIME, EventTable, EventType, Header
from rwkv_music.tokenizer.native_arguments import (
    address_of,
    native_encoding_tables,
)
from rwkv_music.tokenizer.quantize import ControlColumns, Grid, NoteColumns, note_keys
from rwkv_music.tokenizer.reader import read_with_numpy
from rwkv_music.tokenizer.vocabulary import Vocabulary
from rwkv_music.tokenizer.writer import header_tokens, write_with_numpy
from tests.skips import NO_NATIVE_LIBRARY
from tests.tokens import random_score, random_stream

TOKENIZERS = [
    Tokenizer(),
    Tokenizer(steps_per_quarter=480, velocities=128),
    Tokenizer(steps_per_quarter=48, velocities=64, max_parts=31),
]
V = TOKENIZERS[0].vocabulary
NO_CONTROLS = ControlColumns.of([])


@pytest.fixture
def loops() -> native.NativeLoops:
    actual = native._loops()
    if actual is None:
        pytest.skip(NO_NATIVE_LIBRARY)
    return actual


def with_loops(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(native.VARIABLE, name)


def assert_same_tables(ours: EventTable, theirs: EventTable) -> None:
    assert ours.header == theirs.header
    assert ours.is_complete == theirs.is_complete
    np.testing.assert_array_equal(ours.keys, theirs.keys)
    np.testing.assert_array_equal(ours.tokens, theirs.tokens)


def assert_same_encoding(score: symusic.Score, loops: native.NativeLoops) -> None:
    for tokenizer in TOKENIZERS:
        vocabulary = tokenizer.vocabulary
        with pytest.MonkeyPatch.context() as patch:
            with_loops(patch, "numpy")
            expected = events_of(score, vocabulary)
            ids = write_with_numpy(expected, vocabulary)
            with_loops(patch, "native")
            actual = events_of(score, vocabulary)
        np.testing.assert_array_equal(actual.keys, expected.keys)
        assert actual.header == expected.header
        written = loops.write_events(actual, header_tokens(actual.header, vocabulary), vocabulary)
        assert written is not None
        assert written.dtype == ids.dtype
        np.testing.assert_array_equal(written, ids)


def assert_same_decoding(ids: np.ndarray, loops: native.NativeLoops, tokenizer: Tokenizer) -> bool:
    """Compare, and return whether the ids could be read at once."""
    vocabulary = tokenizer.vocabulary
    expected = read_with_numpy(ids, vocabulary)
    actual = loops.read_events(ids, vocabulary)
    if expected is None or actual is None:
        assert expected is actual
        return False
    assert_same_tables(actual, expected)
    columns = loops.split_events(actual, vocabulary)
    assert columns is not None
    theirs = columns_with_numpy(actual, vocabulary)
    ends = {"note": int(theirs.note_ends[-1]), "pedal": int(theirs.pedal_ends[-1])}
    for name, ours, other in zip(theirs._fields, columns, theirs, strict=True):
        length = ends.get(name.split("_")[0], len(other)) if "_ends" not in name else len(other)
        assert ours.dtype == other.dtype, name
        np.testing.assert_array_equal(ours[:length], other, err_msg=name)
    return True


def fluttering_pedals(rng: np.random.Generator) -> symusic.Score:
    """Pedals that move many times within a grid step, in and out of order."""
    score = symusic.Score(480)
    for program in range(int(rng.integers(1, 4))):
        track = symusic.Track("", program, False)
        track.notes.append(symusic.Note(0, 480, 60, 80))
        times = rng.integers(0, 60, int(rng.integers(0, 25)))
        for time in (np.sort(times) if rng.random() < 0.8 else times).tolist():
            controller, value = int(rng.choice([64, 64, 7])), int(rng.integers(128))
            track.controls.append(symusic.ControlChange(time, controller, value))
        score.tracks.append(track)
    return score


def damaged(ids: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Streams of which some are still well-formed."""
    cut = ids[: int(rng.integers(1, len(ids) + 1))]
    holes = ids[rng.random(len(ids)) < 0.97]
    without_bars = ids[(ids != 3) | (rng.random(len(ids)) < 0.5)]
    headless = np.concatenate([ids[:2], ids[int(rng.integers(2, 9)) :]])
    noise = ids.astype(np.int64)
    hit = rng.random(len(ids)) < 0.01
    noise[hit] = rng.integers(-3, 2600, hit.sum())
    return [ids, cut, holes, without_bars, headless, noise]


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([24, 96, 220, 480]))
def test_native_and_numpy_encode_alike(seed: int, ticks: int) -> None:
    loops = native._loops()
    if loops is None:
        pytest.skip(NO_NATIVE_LIBRARY)
    rng = np.random.default_rng(seed)
    for score in (random_score(rng, ticks=ticks, free=True), fluttering_pedals(rng)):
        assert_same_encoding(score, loops)


def test_native_and_numpy_decode_alike(loops: native.NativeLoops) -> None:
    num_read = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        for score in (random_score(rng, ticks=96, free=True), fluttering_pedals(rng)):
            for tokenizer in TOKENIZERS:
                for ids in damaged(tokenizer.encode(score), rng):
                    num_read += assert_same_decoding(ids, loops, tokenizer)
    assert num_read > 800  # of 2,160; else the columns are hardly compared


def test_native_and_numpy_decode_what_the_grammar_allows(loops: native.NativeLoops) -> None:
    for seed in range(20):
        ids, _ = random_stream(TOKENIZERS[0], np.random.default_rng(seed), bars=3)
        assert assert_same_decoding(ids, loops, TOKENIZERS[0])


def test_native_and_numpy_agree_on_streams_that_are_only_well_formed(
    loops: native.NativeLoops,
) -> None:
    """Random walks over the types that may follow each other, with random values."""
    followers = np.array(native.arguments.numpy_tables.decoding_tables(V).followers).reshape(32, 32)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        ids, current = [V.BOS], 1
        for _ in range(120):
            following = np.flatnonzero(followers[current])
            if not len(following):
                break
            weights = np.where(following == 2, 0.02, 1.0)  # EOS ends the walk
            current = int(rng.choice(following, p=weights / weights.sum()))
            ids.append(int(rng.choice(np.flatnonzero(V.types == current))))
        assert assert_same_decoding(np.array(ids, dtype=np.uint16), loops, TOKENIZERS[0])


def test_native_and_numpy_agree_on_real_music(loops: native.NativeLoops, shared_data: Path) -> None:
    rng = np.random.default_rng(0)
    for name, every in (("pop909", 40), ("freedoom", 10), ("groove", 100)):
        for path in sorted((shared_data / name).rglob("*.mid"))[::every]:
            score = load_score(path)
            assert_same_encoding(score, loops)
            for ids in damaged(TOKENIZERS[0].encode(score), rng):
                assert_same_decoding(ids, loops, TOKENIZERS[0])


@pytest.mark.parametrize("column", ["time", "duration", "pitch", "velocity"])
@pytest.mark.parametrize("by", ["numpy", "native"])
def test_a_note_below_zero_is_refused(
    column: str, by: str, loops: native.NativeLoops, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_loops(monkeypatch, by)
    score = symusic.Score(96)
    track = symusic.Track("", 0, False)
    values = {"time": 0, "duration": 96, "pitch": 60, "velocity": 80, column: -1}
    track.notes.append(symusic.Note(**values))
    score.tracks.append(track)
    with pytest.raises(InputError, match=r"-1, the (first tick|lowest) is 0"):
        events_of(score, V)


@pytest.mark.parametrize("by", ["numpy", "native"])
def test_a_pedal_before_the_first_tick_is_refused(
    by: str, loops: native.NativeLoops, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_loops(monkeypatch, by)
    score = symusic.Score(96)
    track = symusic.Track("", 0, False)
    track.notes.append(symusic.Note(0, 96, 60, 80))
    track.controls.append(symusic.ControlChange(-4, 64, 127))
    score.tracks.append(track)
    with pytest.raises(InputError, match="a pedal moves at tick -4"):
        events_of(score, V)


# Hostile input: ids, keys and sizes that no Python code of ours passes.


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, np.int32, np.uint64])
def test_random_ids_are_refused_without_reading_outside(
    dtype: type, loops: native.NativeLoops
) -> None:
    limits = np.iinfo(dtype)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        ids = rng.integers(limits.min, limits.max, int(rng.integers(0, 200)), dtype, endpoint=True)
        ids[:1] = V.BOS
        assert_same_decoding(ids, loops, TOKENIZERS[0])


def test_random_keys_write_no_token_outside(loops: native.NativeLoops) -> None:
    """The ids are written into a buffer whose rest must stay as it is."""
    tables = native_encoding_tables(V)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        keys = rng.integers(-(2**63), 2**63 - 1, int(rng.integers(1, 60)), np.int64)
        if seed % 2:  # nearer to what could be a table
            times = np.sort(rng.integers(0, 3000, len(keys)))
            keys = (keys & ((1 << 39) - 1)) | (times << 39)
        keys[0] = EventType.BAR << 36
        out = np.full(6 * len(keys) + 64, 0xBEEF, dtype=np.uint16)
        count = loops._write_events(tables.address, address_of(keys), len(keys), address_of(out))
        assert count <= 6 * len(keys)
        assert (out[6 * len(keys) :] == 0xBEEF).all()


def test_random_keys_are_split_or_refused(loops: native.NativeLoops) -> None:
    header = Header(30720, 4, 4, (0, 40, 128))
    outcomes = set()
    for seed in range(300):
        rng = np.random.default_rng(seed)
        keys = rng.integers(0, 2**63 - 1, int(rng.integers(0, 60)), np.int64)
        if seed % 2:  # tokens of the vocabulary
            keys &= ~np.int64((1 << 23) | (1 << 11))
        outcomes.add(loops.split_events(EventTable(header, keys), V) is None)
    assert outcomes == {True, False}


def test_the_longest_notes_stay_inside_the_table_of_durations(loops: native.NativeLoops) -> None:
    last = 2**31 - 1
    notes = NoteColumns(
        np.array([[0, last, last], [last, last, 0]], np.int32),
        np.array([[127, 0, 0], [127, 0, 1]], np.int8),
        np.array([[0], [3]]),
    )
    written = 0
    for ticks in (1, 96, 480, 2**15 - 1, 2**20):
        last_onset = (2 * last * 96 + ticks) // (2 * ticks)
        actual = loops.sound_keys(notes, NO_CONTROLS, ticks, V)
        if last_onset > LAST_TIME:
            assert actual is None
            continue
        assert actual is not None
        keys, last_event, _ = actual
        assert set((keys & 4095).tolist()) <= set(V.duration)
        assert last_event == last_onset
        written += 1
    assert written == 2


def test_a_score_that_is_too_long_is_refused_by_its_length(
    loops: native.NativeLoops, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = symusic.Score(96)
    track = symusic.Track("", 0, False)
    track.notes.append(symusic.Note(2**24, 96, 60, 80))
    score.tracks.append(track)
    for by in ("numpy", "native"):
        with_loops(monkeypatch, by)
        with pytest.raises(InputError, match="the score is 174762 quarters long; at most 174762"):
            events_of(score, V)


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)), min_size=1),
    st.integers(1, 2**31 - 1),
    st.sampled_from(TOKENIZERS),
)
def test_every_tick_is_rounded_as_whole_numbers_are(
    notes: list[tuple[int, int]], ticks: int, tokenizer: Tokenizer
) -> None:
    """The native loop divides in double precision: no quotient may differ."""
    loops = native._loops()
    if loops is None:
        pytest.skip(NO_NATIVE_LIBRARY)
    vocabulary = tokenizer.vocabulary
    columns = NoteColumns(
        np.array(notes, np.int32).T.copy(),
        np.full((2, len(notes)), 60, np.int8),
        np.array([[0], [len(notes)]]),
    )
    actual = loops.sound_keys(columns, NO_CONTROLS, ticks, vocabulary)
    expected = note_keys(columns, Grid(ticks, vocabulary.steps_per_quarter), vocabulary)
    if expected[1] > LAST_TIME:
        assert actual is None
        return
    assert actual is not None
    np.testing.assert_array_equal(actual[0], expected[0])
    assert actual[1:] == expected[1:]


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3000))
def test_keys_are_sorted(seed: int, count: int) -> None:
    loops = native._loops()
    if loops is None:
        pytest.skip(NO_NATIVE_LIBRARY)
    rng = np.random.default_rng(seed)
    keys = rng.integers(0, 1 << int(rng.integers(40, 63)), count, np.int64)
    expected = np.sort(keys)
    loops.sort(keys)
    np.testing.assert_array_equal(keys, expected)


# Which of them runs.


def test_the_environment_variable_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.VARIABLE, "numpy")
    assert native.native_loops() is None
    assert native.describe_loops() == "numpy (set by RWKV_MUSIC_TOKENIZER)"
    monkeypatch.setenv(native.VARIABLE, "fortran")
    with pytest.raises(InputError, match="must be numpy or native, got 'fortran'"):
        native.native_loops()


def test_without_the_native_library_numpy_runs_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = NativeLibrary(None, "", "it was not built")
    monkeypatch.setattr(native, "load_library", lambda: missing)
    monkeypatch.setattr(native, "_loops", lambda: None)
    monkeypatch.delenv(native.VARIABLE, raising=False)
    assert native.native_loops() is None
    assert native.describe_loops() == "numpy (no native library: it was not built)"
    score = random_score(np.random.default_rng(0))
    ids = Tokenizer().encode(score)
    assert Tokenizer().encode(Tokenizer().decode(ids)).tolist() == ids.tolist()
    monkeypatch.setenv(native.VARIABLE, "native")
    with pytest.raises(InputError, match="the native library is not there: it was not built"):
        native.native_loops()


def test_with_the_native_library_it_runs_and_says_so(
    loops: native.NativeLoops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(native.VARIABLE, raising=False)
    assert native.native_loops() is loops
    assert native.describe_loops().startswith("native (")
    assert Vocabulary() == V
