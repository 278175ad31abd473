"""Pieces that share a melody are found in any key."""

import numpy as np

from rwkv_music.data.corpora.melody_groups import interval_runs, melody_groups

TUNE = np.array([60, 62, 64, 65, 67, 69, 71, 72, 71, 69, 67, 66])


def test_a_transposed_melody_is_in_the_group_of_the_original() -> None:
    other = np.array([60, 67, 62, 69, 64, 71, 65, 72, 67, 74, 69, 76])
    groups = melody_groups({"a": TUNE, "b": TUNE - 3, "c": other})
    assert groups == {"a": "a", "b": "a", "c": "c"}


def test_a_chain_of_shared_runs_makes_one_group() -> None:
    middle = np.concatenate([TUNE, 100 - TUNE])
    groups = melody_groups({"a": TUNE, "b": middle, "c": 100 - TUNE})
    assert set(groups.values()) == {"a"}


def test_a_shared_run_one_interval_too_short_makes_no_group() -> None:
    ninth = TUNE[:9]
    extended = np.concatenate([ninth, [50, 40]])
    differently = np.concatenate([ninth, [90, 95]])
    tunes = {"a": extended, "b": differently}
    assert melody_groups(tunes, run=9) == {"a": "a", "b": "b"}
    assert melody_groups(tunes, run=8) == {"a": "a", "b": "a"}


def test_a_repeated_pitch_is_not_a_run() -> None:
    assert interval_runs(np.full(30, 60), 9) == set()
