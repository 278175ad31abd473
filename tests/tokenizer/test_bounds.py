"""The error bounds that docs/tokenizer.md states, measured for each setting."""

import itertools

import numpy as np
import pytest
import symusic

from rwkv_music.tokenizer import BarIndex, Tokenizer
from tests.music import score_of
from tests.tokens import notes_of, random_score, random_stream

SETTINGS = list(itertools.product((48, 96, 192, 480), (32, 64, 128)))


def numbered_notes(onsets: list[int], durations: list[int]) -> list[tuple[int, ...]]:
    """Return one note per onset with a pitch and velocity that identify it."""
    return [
        (onset, duration, index % 128, 1 + index % 127)
        for index, (onset, duration) in enumerate(zip(onsets, durations, strict=True))
    ]


@pytest.mark.parametrize(("steps", "velocities"), SETTINGS)
def test_onsets_move_by_half_a_step_and_velocities_by_their_bound(
    steps: int, velocities: int
) -> None:
    ticks = 1009  # a prime: onsets fall everywhere between two steps
    onsets = np.random.default_rng(steps).integers(0, 8 * ticks, 128)
    back = Tokenizer(steps_per_quarter=steps, velocities=velocities)
    score = score_of(*numbered_notes(onsets.tolist(), [ticks] * 128), ticks=ticks)
    actual = back.decode(back.encode(score)).tracks[0].notes.numpy()
    position = actual["pitch"].astype(int)
    moved = np.abs(actual["time"] / steps - onsets[position] / ticks)
    assert moved.max() <= 0.5 / steps + 1e-12
    assert moved.max() > 0.4 / steps
    played = 1 + position % 127
    error = np.abs(actual["velocity"] - played)
    assert error.max() == {32: 3, 64: 1, 128: 0}[velocities]
    assert error[played > 1].max() == {32: 2, 64: 1, 128: 0}[velocities]


@pytest.mark.parametrize("steps", [48, 96, 192, 480])
def test_durations_move_by_the_bound_of_their_length(steps: int) -> None:
    ticks = 960
    rng = np.random.default_rng(steps)
    tokenizer = Tokenizer(steps_per_quarter=steps)
    bands = (
        (0, 1 / 2, 1 / steps), (1 / 2, 2, 1 / steps), (2, 4, 2 / steps), (4, 16, 1 / 16),
        (16, 64, 1 / 4), (64, 256, 2),
    )  # fmt: skip
    for shortest, longest, bound in bands:
        durations = rng.integers(int(shortest * ticks) + 1, int(longest * ticks) + 1, 128)
        onsets = rng.integers(0, 40 * ticks, 128)
        score = score_of(*numbered_notes(onsets.tolist(), durations.tolist()), ticks=ticks)
        actual = tokenizer.decode(tokenizer.encode(score)).tracks[0].notes.numpy()
        error = np.abs(actual["duration"] / steps - durations[actual["pitch"]] / ticks)
        assert error.max() <= bound + 1e-12


def test_a_tempo_moves_by_one_512th() -> None:
    tokenizer = Tokenizer()
    for qpm in np.random.default_rng(0).uniform(8, 480, 200).tolist():
        score = score_of((0, 96, 0, 1), ticks=96)
        score.tempos.append(symusic.Tempo(0, qpm=qpm))
        back = tokenizer.decode(tokenizer.encode(score))
        # Files hold whole microseconds: at 480, one of them is 1/260 quarter per minute.
        stored = 0.5 * score.tempos[0].qpm ** 2 / 60e6
        assert abs(back.tempos[0].qpm - score.tempos[0].qpm) <= 1 / 512 + stored + 1e-9


@pytest.mark.parametrize(("steps", "velocities"), SETTINGS)
def test_grammar_windows_and_decoding_work_with_every_setting(steps: int, velocities: int) -> None:
    tokenizer = Tokenizer(steps_per_quarter=steps, velocities=velocities, max_parts=9)
    again = Tokenizer.from_settings(tokenizer.settings)
    assert again.vocabulary == tokenizer.vocabulary
    rng = np.random.default_rng(steps + velocities)
    ids, grammar = random_stream(tokenizer, rng, bars=2, most=150)
    if grammar.finished:
        np.testing.assert_array_equal(again.encode(tokenizer.decode(ids)), ids)
    ids = tokenizer.encode(random_score(rng, ticks=480, free=True))
    tokenizer.grammar().feed(ids)
    index = BarIndex(ids, tokenizer)
    bar = index.num_bars // 2
    start = int(tokenizer.token_times(ids)[np.flatnonzero(ids == tokenizer.vocabulary.BAR)][bar])
    cut = tokenizer.decode(index.window(bar, index.num_bars).ids)
    assert notes_of(cut) == notes_of(tokenizer.decode(ids), start=start)
