"""Chorales on the grid: what is read, and what a model is told of the past."""

from pathlib import Path

import numpy as np
import pytest

from rwkv_music.errors import InputError
from rwkv_music.evaluation.benchmarks.chorale_grid import (
    START,
    ChoraleGrid,
    read_chorales,
    step_inputs,
    with_new_soprano,
)


def chorale(*rows: tuple[int, int, int, int]) -> ChoraleGrid:
    return ChoraleGrid("by hand", np.array(rows))


def write(folder: Path, text: str) -> Path:
    (folder / "train").mkdir(exist_ok=True)
    (folder / "train" / "piece.csv").write_text(f"note0,note1,note2,note3\n{text}")
    return folder


def test_pitches_become_symbols_and_zero_is_silence(tmp_path: Path) -> None:
    (piece,) = read_chorales(write(tmp_path, "81,60,0,36\n"), "train")
    assert piece.symbols.tolist() == [[46, 25, 0, 1]]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("82,60,55,36\n", "has the pitch 82: pitches are 36 to 81"),
        ("60,55,48\n", "needs rows of 4 pitches"),
        ("60,55,48,x\n", "is not a table of pitches"),
        ("60,55,48,40\n60,55\n", "is not a table of pitches"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=f"piece.csv {problem}"):
        read_chorales(write(tmp_path, text), "train")


def test_a_folder_without_the_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no CSV files"):
        read_chorales(tmp_path, "valid")


def test_the_inputs_of_a_step_hold_the_past_alone() -> None:
    piece = chorale((30, 20, 10, 5), (30, 20, 12, 5), (0, 20, 12, 5), (30, 20, 11, 5))
    inputs = step_inputs(piece)
    assert inputs.symbols[0].tolist() == [START] * 4
    assert inputs.symbols[1:].tolist() == piece.symbols[:-1].tolist()
    assert inputs.ages.tolist() == [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 1, 2], [1, 3, 2, 3]]
    # The tenor rose by two semitones (13 is none), and the soprano's silence has no interval.
    assert inputs.intervals.tolist() == [[0] * 4, [0] * 4, [0, 0, 15, 0], [0, 0, 15, 0]]
    assert inputs.chords.tolist() == [[0] * 4, [2, 4, 6, 1], [2, 4, 8, 1], [0, 4, 8, 1]]
    assert inputs.beats.tolist() == [0, 1, 2, 3]


def test_a_chorale_is_transposed_only_within_the_range() -> None:
    piece = chorale((46, 20, 0, 3))
    assert piece.transposed(1) is None
    assert piece.transposed(-3) is None
    lower = piece.transposed(-2)
    assert lower is not None
    assert lower.symbols.tolist() == [[44, 18, 0, 1]]


def test_a_soprano_is_known_again_in_another_key() -> None:
    tune = np.random.default_rng(0).integers(20, 40, 40)
    other = np.random.default_rng(1).integers(20, 40, 40)
    pieces = [
        ChoraleGrid(name, np.repeat(np.stack([notes] * 4, axis=1), 4, axis=0))
        for name, notes in (("tune", tune), ("same tune", tune + 3), ("other", other))
    ]
    new = with_new_soprano(pieces[1:], pieces[:1])
    assert [piece.name for piece in new] == ["other"]


def test_the_public_split_has_its_known_sizes(shared_data: Path) -> None:
    folder = shared_data / "jsb_chorales"
    parts = {split: read_chorales(folder, split) for split in ("train", "valid", "test")}
    assert {name: len(pieces) for name, pieces in parts.items()} == {
        "train": 229, "valid": 76, "test": 77,
    }  # fmt: skip
    slots = {name: sum(piece.symbols.size for piece in part) for name, part in parts.items()}
    assert slots == {"train": 220_912, "valid": 73_632, "test": 75_600}
    assert len(with_new_soprano(parts["test"], parts["train"])) == 49
