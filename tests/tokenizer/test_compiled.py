"""The compiled loops give what the array expressions give, bit for bit."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.errors import InputError
from rwkv_music.score import load_score
from rwkv_music.tokenizer import Tokenizer, compiled, loops
from rwkv_music.tokenizer.decode import _read_compiled, _read_whole
from rwkv_music.tokenizer.encode import encode_with
from tests.tokens import random_score, random_stream

PLAIN = compiled.Loops(
    **{name: inspect.unwrap(getattr(loops, name)) for name in compiled.Loops._fields}
)
TOKENIZERS = [
    Tokenizer(),
    Tokenizer(steps_per_quarter=480, velocities=128),
    Tokenizer(steps_per_quarter=48, velocities=64, max_parts=31),
]


def compiled_by_numba() -> compiled.Loops:
    pytest.importorskip("numba", reason="numba is an extra: pip install 'rwkv-music[fast]'")
    return compiled._compile()


def assert_same_encoding(score: symusic.Score, by: compiled.Loops) -> None:
    for tokenizer in TOKENIZERS:
        expected = encode_with(score, tokenizer.vocabulary, None)
        found = encode_with(score, tokenizer.vocabulary, by)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def assert_same_decoding(ids: np.ndarray, by: compiled.Loops, tokenizer: Tokenizer) -> None:
    expected = _read_whole(ids, tokenizer.vocabulary)
    found = _read_compiled(ids, tokenizer.vocabulary, by)
    if expected is None or found is None:
        assert expected is None
        assert found is None
        return
    for name, ours, theirs in zip(expected._fields, found, expected, strict=True):
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine, other, err_msg=name)
            assert getattr(mine, "dtype", None) == getattr(other, "dtype", None), name


def chatter(rng: np.random.Generator) -> symusic.Score:
    """Pedals that move many times within a grid step, in and out of order."""
    score = symusic.Score(480)
    for program in range(int(rng.integers(1, 4))):
        track = symusic.Track("", program, False)
        track.notes.append(symusic.Note(0, 480, 60, 80))
        times = rng.integers(0, 60, int(rng.integers(0, 25)))
        for time in (np.sort(times) if rng.random() < 0.8 else times).tolist():
            number, value = int(rng.choice([64, 64, 7])), int(rng.integers(128))
            track.controls.append(symusic.ControlChange(time, number, value))
        score.tracks.append(track)
    return score


def damaged(ids: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Streams that fit the neighbours' rule here and there, and break it elsewhere."""
    cut = ids[: int(rng.integers(1, len(ids) + 1))]
    holes = ids[rng.random(len(ids)) < 0.97]
    without_bars = ids[(ids != 3) | (rng.random(len(ids)) < 0.5)]
    noise = ids.astype(np.int64)
    hit = rng.random(len(ids)) < 0.01
    noise[hit] = rng.integers(-3, 2600, hit.sum())
    return [ids, cut, holes, without_bars, noise]


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from([24, 96, 220, 480]))
def test_the_loops_say_what_the_arrays_say(seed: int, ticks: int) -> None:
    rng = np.random.default_rng(seed)
    for score in (random_score(rng, ticks=ticks, free=True), chatter(rng)):
        assert_same_encoding(score, PLAIN)
        for tokenizer in TOKENIZERS:
            for ids in damaged(tokenizer.encode(score), rng):
                assert_same_decoding(ids, PLAIN, tokenizer)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([24, 96, 220, 480]))
def test_numba_says_what_the_arrays_say(seed: int, ticks: int) -> None:
    by = compiled_by_numba()
    rng = np.random.default_rng(seed)
    for score in (random_score(rng, ticks=ticks, free=True), chatter(rng)):
        assert_same_encoding(score, by)
        for tokenizer in TOKENIZERS:
            for ids in damaged(tokenizer.encode(score), rng):
                assert_same_decoding(ids, by, tokenizer)


def test_both_read_what_the_grammar_admits() -> None:
    for seed in range(20):
        ids, _ = random_stream(TOKENIZERS[0], np.random.default_rng(seed), bars=3)
        assert_same_decoding(ids, PLAIN, TOKENIZERS[0])


def test_numba_says_what_the_arrays_say_of_real_music(shared_data: Path) -> None:
    by = compiled_by_numba()
    rng = np.random.default_rng(0)
    for name, every in (("pop909", 40), ("freedoom", 10), ("groove", 100)):
        for path in sorted((shared_data / name).rglob("*.mid"))[::every]:
            score = load_score(path)
            assert_same_encoding(score, by)
            for ids in damaged(TOKENIZERS[0].encode(score), rng):
                assert_same_decoding(ids, by, TOKENIZERS[0])


@pytest.mark.parametrize("column", ["time", "duration", "pitch", "velocity"])
def test_a_note_below_zero_is_refused_by_both(column: str) -> None:
    score = symusic.Score(96)
    track = symusic.Track("", 0, False)
    values = {"time": 0, "duration": 96, "pitch": 60, "velocity": 80, column: -1}
    track.notes.append(symusic.Note(**values))
    score.tracks.append(track)
    for by in (None, PLAIN):
        with pytest.raises(InputError, match=r"-1, the (first tick|lowest) is 0"):
            encode_with(score, TOKENIZERS[0].vocabulary, by)


def test_a_pedal_before_the_first_tick_is_refused_by_both() -> None:
    score = symusic.Score(96)
    track = symusic.Track("", 0, False)
    track.notes.append(symusic.Note(0, 96, 60, 80))
    track.controls.append(symusic.ControlChange(-4, 64, 127))
    score.tracks.append(track)
    for by in (None, PLAIN):
        with pytest.raises(InputError, match="a pedal moves at tick -4"):
            encode_with(score, TOKENIZERS[0].vocabulary, by)


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiled.VARIABLE, "numpy")
    assert compiled.compiled_loops() is None
    assert compiled.describe_loops() == "numpy (RWKV_MUSIC_TOKENIZER says so)"
    monkeypatch.setenv(compiled.VARIABLE, "fortran")
    with pytest.raises(InputError, match="must be numpy or numba, got 'fortran'"):
        compiled.compiled_loops()


def test_without_numba_numpy_runs_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(compiled.VARIABLE, raising=False)
    monkeypatch.setattr(compiled, "has_numba", lambda: False)
    monkeypatch.setattr(compiled._Met, "pieces", compiled.PATIENCE)
    assert compiled.compiled_loops() is None
    assert "pip install 'rwkv-music[fast]'" in compiled.describe_loops()
    monkeypatch.setenv(compiled.VARIABLE, "numba")
    with pytest.raises(InputError, match="numba is not installed: pip install"):
        compiled.compiled_loops()


def test_numba_is_loaded_only_when_there_are_many_pieces() -> None:
    pytest.importorskip("numba", reason="numba is an extra: pip install 'rwkv-music[fast]'")
    code = (
        "import sys, symusic\n"
        "from rwkv_music.tokenizer import Tokenizer, compiled\n"
        "score = symusic.Score(96)\n"
        "score.tracks.append(symusic.Track('', 0, False))\n"
        "score.tracks[0].notes.append(symusic.Note(0, 96, 60, 80))\n"
        "encode = Tokenizer().encode\n"
        "first = [encode(score).tolist() for _ in range(compiled.PATIENCE)]\n"
        "assert 'numba' not in sys.modules\n"
        "assert encode(score).tolist() == first[0]\n"
        "assert 'numba' in sys.modules\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != compiled.VARIABLE}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
