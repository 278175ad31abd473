"""A store returns what was prepared, also to a reader of RWKV-LM's format."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rwkv_music.data import Piece, Store, Windows, load_corpus, prepare_store, split_corpus
from rwkv_music.data.store.binidx import dtype_for, index_bytes, read_index
from rwkv_music.data.store.store_info import StoreInfo
from rwkv_music.errors import InputError
from rwkv_music.score import load_score
from rwkv_music.tokenizer import BarIndex, Tokenizer
from tests.stores import Binidx, tables_of, write_tunes

TOKENIZER = Tokenizer()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tunes(tmp_path_factory.mktemp("music"), 40)


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "one"
    prepare_store(folder, path, workers=2)
    return path


def expected(folder: Path) -> dict[str, np.ndarray]:
    """Every file, encoded here, in the order of the store."""
    names = sorted(folder.rglob("*.mid*"), key=lambda path: path.relative_to(folder).parts)
    return {
        path.relative_to(folder).as_posix(): TOKENIZER.encode(load_score(path)) for path in names
    }


def test_pieces_are_read_back_with_their_names_in_order(folder: Path, store: Path) -> None:
    pieces = expected(folder)
    assert len(pieces) == 48
    opened = Store(store)
    for split in (opened.train, opened.valid):
        assert [piece.name for piece in split] == [
            name for name in pieces if name in {piece.name for piece in split}
        ]
    actual = {piece.name: piece.ids for piece in (*opened.train, *opened.valid)}
    assert actual.keys() == pieces.keys()
    for name, ids in pieces.items():
        np.testing.assert_array_equal(actual[name], ids)


def test_a_reader_of_binidx_opens_both_splits(store: Path) -> None:
    opened = Store(store)
    for split, pieces in (("train", opened.train), ("valid", opened.valid)):
        read = Binidx.open(store / split)
        assert read.document_index == list(range(len(pieces) + 1))
        assert read.flat.dtype == np.uint16
        np.testing.assert_array_equal(read.flat, np.concatenate([piece.ids for piece in pieces]))
        for piece, document in zip(pieces, read.documents, strict=True):
            np.testing.assert_array_equal(piece.ids, document)


def test_an_index_equals_one_made_by_hand() -> None:
    index = index_bytes(np.array([3, 0, 2]), np.dtype("<u2"))
    assert len(index) == 34 + 3 * (4 + 8) + 4 * 8
    version_code_counts = "0100000000000000 08 0300000000000000 0400000000000000"
    assert index[9:34] == bytes.fromhex(version_code_counts)
    assert index[:9] == b"MMIDIDX\x00\x00"
    assert np.frombuffer(index, "<i4", 3, 34).tolist() == [3, 0, 2]
    assert np.frombuffer(index, "<i8", 3, 46).tolist() == [0, 6, 6]
    assert np.frombuffer(index, "<i8", 4, 70).tolist() == [0, 1, 2, 3]


def test_large_vocabularies_use_four_bytes_per_token(tmp_path: Path) -> None:
    assert (dtype_for(65536).itemsize, dtype_for(65537).itemsize) == (2, 4)
    (tmp_path / "a.idx").write_bytes(index_bytes(np.array([2, 1]), dtype_for(70000)))
    (tmp_path / "a.bin").write_bytes(np.array([69999, 5, 65536], dtype=np.uint32).tobytes())
    assert [document.tolist() for document in Binidx.open(tmp_path / "a").documents] == [
        [69999, 5], [65536],
    ]  # fmt: skip
    sizes, dtype = read_index(tmp_path / "a.idx")
    assert (sizes.tolist(), dtype) == ([2, 1], np.dtype("<i4"))


def test_windows_of_stored_bars_equal_those_of_the_piece(store: Path) -> None:
    for piece in Store(store).train:
        fresh = BarIndex(piece.ids.copy(), TOKENIZER)
        stored = BarIndex(piece.ids, TOKENIZER, piece.bar_index)
        assert stored.num_bars == fresh.num_bars
        for bar in range(fresh.num_bars):
            np.testing.assert_array_equal(
                stored.window(bar, fresh.num_bars).ids, fresh.window(bar, fresh.num_bars).ids
            )


def test_copies_are_in_one_split_and_are_counted(store: Path) -> None:
    opened = Store(store)
    splits = {
        split: {piece.group for piece in pieces}
        for split, pieces in (("train", opened.train), ("valid", opened.valid))
    }
    assert not splits["train"] & splits["valid"]
    assert opened.info.copies == 8
    counts = Counter(piece.group for piece in (*opened.train, *opened.valid))
    assert sorted(counts.values(), reverse=True)[:9] == [2] * 8 + [1]
    piece = opened.train[0]
    assert piece.group == hashlib.sha256(piece.ids.tobytes()).hexdigest()


def test_training_uses_the_split_of_the_store(store: Path) -> None:
    opened = Store(store)
    train, valid = split_corpus(load_corpus(store, TOKENIZER), valid_fraction=0.1)
    assert [piece.name for piece in train] == [piece.name for piece in opened.train]
    assert [piece.name for piece in valid] == [piece.name for piece in opened.valid]
    assert len(valid) >= 1


def test_a_store_keeps_its_held_out_fraction_and_settings_in_training(
    folder: Path, tmp_path: Path
) -> None:
    fine = Tokenizer(steps_per_quarter=192, velocities=64)
    prepare_store(folder, tmp_path / "fine", tokenizer=fine, valid_fraction=0.4, workers=1)
    opened, corpus = Store(tmp_path / "fine"), load_corpus(tmp_path / "fine")
    assert corpus.tokenizer_settings == fine.settings
    train, valid = split_corpus(corpus, valid_fraction=0.1)
    assert [piece.name for piece in train] == [piece.name for piece in opened.train]
    assert [piece.name for piece in valid] == [piece.name for piece in opened.valid]
    assert len(valid) > 8


def test_windows_of_a_store_equal_those_of_its_folder(folder: Path, store: Path) -> None:
    plain = [Piece(name, ids, name) for name, ids in expected(folder).items()]
    stored = sorted(load_corpus(store, TOKENIZER).pieces, key=lambda piece: piece.name.split("/"))
    bars = {"prompt_bars": 2, "completion_bars": 2}
    ours, theirs = Windows(stored, TOKENIZER, **bars), Windows(plain, TOKENIZER, **bars)
    assert ours.too_short == theirs.too_short
    assert len(ours) == len(theirs) > 40
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine.ids, other.ids)
        assert mine.completion_start == other.completion_start


def test_the_content_hash_depends_on_the_pieces(folder: Path, store: Path, tmp_path: Path) -> None:
    first = load_corpus(store, TOKENIZER).content_hash
    assert first == load_corpus(store, TOKENIZER).content_hash
    fewer = tmp_path / "fewer"
    prepare_store(folder / "b", fewer, workers=1)
    assert load_corpus(fewer, TOKENIZER).content_hash != first


def test_a_store_of_another_tokenizer_is_refused_with_both_named(store: Path) -> None:
    finer = Tokenizer(steps_per_quarter=480)
    with pytest.raises(
        InputError,
        match=r"has tokenizer 2 \(steps_per_quarter 96, velocities 32, max_parts 32\), the "
        r"tokenizer to be used has tokenizer 2 \(steps_per_quarter 480, .*: use the same settings",
    ):
        load_corpus(store, finer)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tokenizer_version": 1}, r"has tokenizer 1 \(.*the tokenizer to be used has tokenizer 2"),
        ({"schema": 2}, "is a 'rwkv-music token store' of schema 2, .* reads schema 1"),
        ({"is_finished": False}, "is unfinished: prepare it again with the same settings"),
        (
            {"pieces": {"train": 1, "valid": 1}},
            "is damaged, split 'train': its files do not belong",
        ),
        ({"what": 3, "schema": None}, "is a '3' of schema None"),
        ({"pieces": {"train": 1}}, "is damaged, split 'train': its files do not belong"),
        (
            {"owner": "me"},
            r"store\.json is damaged \('owner' is unknown\): prepare the store again",
        ),
        ({"dtype": "float"}, r"store\.json is damaged \('dtype' cannot be 'float'\)"),
        ({"bars": [1, 2]}, r"store\.json is damaged \('bars' cannot be \[1, 2\]\)"),
        ({"valid_fraction": "much"}, r"is damaged \('valid_fraction' cannot be \"much\"\)"),
    ],
)
def test_a_store_that_cannot_be_used_is_refused(
    store: Path, tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in store.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    info = json.loads((other / "store.json").read_text())
    del info["sha256"]  # as in stores of older versions
    (other / "store.json").write_text(json.dumps({**info, **change}))
    with pytest.raises(InputError, match=reason):
        load_corpus(other, TOKENIZER)


def test_a_folder_that_is_not_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a token store, it contains no store\.json: m"):
        Store(tmp_path)
    (tmp_path / "store.json").write_text("[")
    with pytest.raises(InputError, match=r"store\.json cannot be read \(.*: prepare the store ag"):
        Store(tmp_path)
    (tmp_path / "store.json").write_text("[1, 2]")
    with pytest.raises(InputError, match=r"cannot be read \(it is not a table of names and values"):
        Store(tmp_path)
    (tmp_path / "store.json").write_text('{"what": "rwkv-music token store", "schema": 1}')
    with pytest.raises(InputError, match=r"is damaged \('tokenizer_version' is missing\): prepare"):
        Store(tmp_path)
    with pytest.raises(InputError, match=r"`valid_fraction` must be in \(0, 1\), got 1"):
        StoreInfo.of(TOKENIZER, 1)
    (tmp_path / "a.idx").write_bytes(b"something else")
    with pytest.raises(InputError, match=r"a\.idx is not a token index"):
        read_index(tmp_path / "a.idx")


def test_a_store_can_be_opened_twice(store: Path) -> None:
    first, second = Store(store), Store(store)
    assert first.train[0].name == second.train[0].name
    assert set(tables_of(store)) < {path.name for path in store.iterdir()}
