"""The same music is recognized in another key, tempo, instrument and track layout."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import symusic
from hypothesis import given
from hypothesis import strategies as st

from rwkv_music.data.near_duplicates import (
    Fingerprint,
    find_near_duplicates,
    fingerprint,
    group_near_duplicates,
)
from rwkv_music.data.union_find import UnionFind
from rwkv_music.score import load_score, transpose
from tests.music import tune

Change = Callable[[symusic.Score], symusic.Score]


def at_another_tempo(score: symusic.Score) -> symusic.Score:
    changed = score.copy()
    changed.tempos = symusic.Score(96).tempos
    changed.tempos.append(symusic.Tempo(0, qpm=173.0))
    return changed


def with_the_tempo_in_its_ticks(score: symusic.Score) -> symusic.Score:
    changed = score.copy()
    for track in changed.tracks:
        for note in track.notes:
            note.time, note.duration = round(note.time * 1.37), round(note.duration * 1.37)
    return changed


def for_other_instruments(score: symusic.Score) -> symusic.Score:
    changed = score.copy()
    for index, track in enumerate(changed.tracks):
        track.program, track.name = 40 + index, "other"
        for note in track.notes:
            note.velocity = 33
    return changed


def exported_at_another_division(score: symusic.Score) -> symusic.Score:
    return score.resample(120, 1)


def in_one_track(score: symusic.Score) -> symusic.Score:
    changed = score.copy()
    joined = symusic.Track("all", 0, False)
    for track in changed.tracks:
        joined.notes.extend(track.notes)
    changed.tracks = symusic.Score(96).tracks
    changed.tracks.append(joined)
    return changed


def its_second_half(score: symusic.Score) -> symusic.Score:
    return score.clip(score.end() // 2, score.end()).shift_time(-(score.end() // 2))


CHANGES: list[Change] = [
    lambda score: transpose(score, 5),
    at_another_tempo,
    with_the_tempo_in_its_ticks,
    for_other_instruments,
    exported_at_another_division,
    in_one_track,
    its_second_half,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_among_others(change: Change) -> None:
    scores = {f"other {seed}": tune(bars=40, seed=seed) for seed in range(1, 8)}
    scores["original"] = tune(bars=40, seed=0)
    scores["changed"] = change(scores["original"])
    (pair,) = find_near_duplicates({name: fingerprint(score) for name, score in scores.items()})
    assert {pair.first, pair.second} == {"original", "changed"}
    assert pair.share > 0.9


def test_a_melody_is_found_with_another_accompaniment() -> None:
    first, second = tune(bars=60, seed=0), tune(bars=60, seed=1)
    second.tracks[0].notes = first.tracks[0].notes
    other = tune(bars=60, seed=2)
    prints = {"a": fingerprint(first), "b": fingerprint(second), "c": fingerprint(other)}
    (pair,) = find_near_duplicates(prints)
    assert (pair.first, pair.second, pair.kind) == ("a", "b", "part")


def test_a_repeated_figure_makes_no_near_duplicate() -> None:
    def with_ostinato(seed: int) -> symusic.Score:
        score = tune(bars=60, seed=seed, parts=1)
        track = symusic.Track("ostinato", 32, False)
        for index in range(60 * 8):
            track.notes.append(symusic.Note(48 * index, 48, 36 + (0, 7, 12, 7, 3)[index % 5], 90))
        score.tracks.append(track)
        return score

    prints = {str(seed): fingerprint(with_ostinato(seed)) for seed in range(5)}
    assert all(len(fingerprint_of_score.parts) for fingerprint_of_score in prints.values())
    assert find_near_duplicates(prints) == []


def test_drums_are_compared_stroke_by_stroke() -> None:
    def drums(seed: int, hurry: int = 1) -> symusic.Score:
        rng = np.random.default_rng(seed)
        score = symusic.Score(480 // hurry)
        track = symusic.Track("drums", 0, True)
        onsets = np.cumsum(rng.choice([60, 120, 240], 200)) // hurry
        for onset in onsets.tolist():
            for pitch in {36, int(rng.integers(37, 50))}:
                track.notes.append(symusic.Note(onset, 20, pitch, 100))
        score.tracks.append(track)
        return score

    prints = {"a": fingerprint(drums(0)), "b": fingerprint(drums(0, 4)), "c": fingerprint(drums(1))}
    assert [pair[:2] for pair in find_near_duplicates(prints)] == [("a", "b")]


def test_many_copies_are_one_group() -> None:
    """More copies than a run is compared in pairs for."""
    score = tune(bars=30)
    scores = {f"{index:03}": transpose(score, index % 12) for index in range(90)}
    hashes = {name: name[::-1] for name in scores}
    prints = {name: fingerprint(score) for name, score in scores.items()}
    assert set(group_near_duplicates(hashes, prints).values()) == {min(hashes.values())}


def test_adding_pieces_does_not_change_the_group_of_others() -> None:
    prints = {str(seed): fingerprint(tune(bars=30, seed=seed)) for seed in range(6)}
    hashes = {name: f"hash {name}" for name in prints}
    before = group_near_duplicates(hashes, prints)
    assert before == hashes
    prints["new"] = fingerprint(transpose(tune(bars=30, seed=3), 2))
    after = group_near_duplicates({**hashes, "new": "hash 0 of the new one"}, prints)
    assert {name: after[name] for name in "01245"} == {name: before[name] for name in "01245"}
    assert after["3"] == after["new"] == "hash 0 of the new one"


def test_music_without_runs_has_no_near_duplicates() -> None:
    empty_batch = fingerprint(tune(bars=1))
    assert empty_batch.parts == ()
    assert find_near_duplicates({"a": empty_batch, "b": empty_batch}) == []
    assert fingerprint(symusic.Score(96)) is not None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=8))
def test_sets_contain_what_is_connected(joins: list[tuple[str, str]]) -> None:
    groups = UnionFind("abcdef")
    for name, other in joins:
        groups.union(name, other)
    reach = {name: {name} for name in "abcdef"}
    for _ in joins:
        for name, other in joins:
            reach[name] = reach[other] = reach[name] | reach[other]
    for name in "abcdef":
        assert groups.find(name) == min(reach[name])
    for name, other in joins:
        assert groups.find(name) == groups.find(other)


def prints_of(folder: Path) -> dict[str, Fingerprint]:
    return {path.stem: fingerprint(load_score(path)) for path in sorted(folder.glob("*.mid"))}


def test_the_three_duplicates_of_909_songs_are_found(shared_data: Path) -> None:
    pairs = find_near_duplicates(prints_of(shared_data / "pop909"))
    assert {pair[:2] for pair in pairs} == {("017", "018"), ("262", "805"), ("492", "666")}


def chorale(path: Path) -> symusic.Score:
    """Rows of 16ths, a column a voice, as a score; a held pitch is one note."""
    rows = np.loadtxt(path, delimiter=",", skiprows=1, dtype=int)
    score = symusic.Score(96)
    for voice in range(rows.shape[1]):
        track = symusic.Track(str(voice), 0, False)
        edges = [0, *(np.flatnonzero(np.diff(rows[:, voice])) + 1).tolist(), len(rows)]
        for start, stop in itertools.pairwise(edges):
            if rows[start, voice]:
                pitch = int(rows[start, voice])
                track.notes.append(symusic.Note(24 * start, 24 * (stop - start), pitch, 80))
        score.tracks.append(track)
    return score


def test_chorales_in_both_training_and_validation_are_found(shared_data: Path) -> None:
    folder = shared_data / "jsb_chorales"
    paths = sorted(folder.rglob("*.csv"))
    prints = {f"{path.parent.name} {path.stem[-3:]}": fingerprint(chorale(path)) for path in paths}
    pairs = {pair[:2]: pair for pair in find_near_duplicates(prints)}
    assert pairs["train 224", "valid 303"].share == 1
    assert set(pairs) == {
        ("train 224", "valid 303"), ("train 142", "valid 287"), ("test 326", "train 221"),
    }  # fmt: skip
