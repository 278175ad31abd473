"""A store with a changed byte, or made to harm, is refused by the name of the file."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rwkv_music.data import Store, load_corpus, merge_stores, prepare_store
from rwkv_music.data.store.binidx import index_bytes
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.tokenizer.bar_index import BAR_ROW
from tests.stores import TABLES, tables_of, write_tunes

FILES = [name for name in TABLES if name != "valid.names"] + ["progress.jsonl"]


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tunes(tmp_path_factory.mktemp("music"), 30)
    (folder / "broken.mid").touch()
    return folder


@pytest.fixture(scope="module")
def original(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("stores") / "store"
    prepare_store(music, store, workers=1)
    assert min(Store(store).info.pieces.values()) > 0
    return store


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    shutil.copytree(original, tmp_path / "store")
    return tmp_path / "store"


def flip_bit(path: Path, fraction: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * fraction)] ^= 1
    path.write_bytes(content)


def read_all(store: Path) -> None:
    opened = Store(store)
    opened.skipped_files()
    opened.corpus()


@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_refused_by_the_name_of_its_file(
    store: Path, name: str, fraction: float
) -> None:
    flip_bit(store / name, fraction)
    with pytest.raises(InputError, match=rf"{name} is damaged, .*: copy the store again, or prep"):
        read_all(store)
    with pytest.raises(InputError, match=r"is damaged"):
        merge_stores([store], store.parent / "merged")


def test_a_changed_value_in_store_json_is_refused(store: Path) -> None:
    text = (store / "store.json").read_text()
    (store / "store.json").write_text(
        text.replace('"valid_fraction": 0.1', '"valid_fraction": 0.3')
    )
    with pytest.raises(
        InputError, match=r"store\.json is damaged, its content does not have its c"
    ):
        Store(store)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_its_name(store: Path, name: str) -> None:
    (store / name).unlink()
    with pytest.raises(InputError, match=rf"{name} is damaged"):
        read_all(store)


def test_a_damaged_store_is_not_added_to(music: Path, store: Path) -> None:
    before = tables_of(store)
    flip_bit(store / "train.bin", 0.5)
    damaged = tables_of(store)
    with pytest.raises(InputError, match=r"train\.bin is damaged"):
        prepare_store(music, store, workers=1)
    assert tables_of(store) == damaged != before


@pytest.mark.parametrize("name", ["train.idx", "valid.pieces", "train.names"])
def test_tables_are_made_again_by_preparing(music: Path, store: Path, name: str) -> None:
    before = tables_of(store)
    flip_bit(store / name, 0.5)
    prepare_store(music, store, workers=1)
    assert tables_of(store) == before
    read_all(store)


def test_checksums_follow_added_files(store: Path, music: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    shutil.copytree(music, more)
    write_tunes(more, 10, first=30)
    assert prepare_store(more, store, workers=1).added == 12
    read_all(store)
    flip_bit(store / "train.bin", 0.99)
    with pytest.raises(InputError, match=r"train\.bin is damaged"):
        read_all(store)


def test_a_store_of_an_older_version_has_no_checksums(store: Path) -> None:
    info = json.loads((store / "store.json").read_text())
    for name in ("sha256", "checksums", "progress_bytes"):
        del info[name]
    for new, old in {"valid_fraction": "valid_share", "skipped": "set_aside",
                     "repaired": "mended"}.items():  # fmt: skip
        info[old] = info.pop(new)
    (store / "store.json").write_text(json.dumps(info))
    records = (store / "progress.jsonl").read_text().replace('"split":', '"side":')
    (store / "journal.jsonl").write_text(records.replace('"repairs":', '"mended":'))
    (store / "progress.jsonl").unlink()
    opened = Store(store)
    assert opened.skipped_files().keys() == {"broken.mid"}
    assert len(load_corpus(store).pieces) == sum(opened.info.pieces.values()) == 36


def test_an_old_store_is_added_to_under_the_current_names(
    store: Path, music: Path, original: Path
) -> None:
    for new, old in {"progress.jsonl": "journal.jsonl", "skipped.txt": "set_aside.txt",
                     "repaired.txt": "mended.txt"}.items():  # fmt: skip
        (store / new).rename(store / old)
    result = prepare_store(music, store, workers=1)
    assert (result.added, result.unchanged) == (0, 37)
    assert {path.name for path in store.iterdir()} == {path.name for path in original.iterdir()}
    assert tables_of(store) == tables_of(original)


def without_checksums(store: Path) -> None:
    """Make store.json say nothing about its files, as a hostile one may."""
    info = json.loads((store / "store.json").read_text())
    del info["sha256"], info["checksums"]
    (store / "store.json").write_text(json.dumps(info))


def set_id(store: Path) -> None:
    ids = np.fromfile(store / "train.bin", "<u2")
    ids[7] = Tokenizer().vocab_size
    ids.tofile(store / "train.bin")


def set_bar(store: Path) -> None:
    bars = np.fromfile(store / "train.bars", BAR_ROW)
    bars["bar"][1] = 1_000_000
    bars.tofile(store / "train.bars")


def set_sizes(store: Path) -> None:
    sizes = np.array([len(piece.ids) for piece in Store(store).train], dtype=np.int32)
    sizes[:2] += np.array([20_000, -20_000], dtype=np.int32)
    (store / "train.idx").write_bytes(index_bytes(sizes, np.dtype("<u2")))


def set_index_count(store: Path) -> None:
    content = bytearray((store / "train.idx").read_bytes())
    content[18:26] = (1 << 40).to_bytes(8, "little")
    (store / "train.idx").write_bytes(content)


def cut_table(store: Path) -> None:
    (store / "train.pieces").write_bytes((store / "train.pieces").read_bytes()[:-5])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_id, "it contains ids of 2048 or more, which the tokenizer does not have"),
        (set_bar, "it contains bars behind the end of their piece"),
        (set_sizes, "its files do not belong together"),
        (set_index_count, "which do not belong together: prepare the store again"),
        (cut_table, "is damaged, split 'train': buffer size must be a multiple"),
    ],
)
def test_impossible_content_is_refused(
    store: Path, change: Callable[[Path], None], reason: str
) -> None:
    without_checksums(store)
    change(store)
    with pytest.raises(InputError, match=reason):
        read_all(store)


@pytest.mark.parametrize(
    "change",
    [
        {"split": "../../elsewhere"},
        {"split": ["train"]},
        {"tokens": -1},
        {"tokens": 1 << 40},
        {"bars": "7"},
        {"sha256": "00"},
        {"name": "a\0b.mid"},
        {"name": 3},
        {"size": None},
    ],
)
def test_an_impossible_record_is_refused_by_its_line(
    store: Path, music: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    lines = (store / "progress.jsonl").read_text().splitlines()
    lines[3] = json.dumps({**json.loads(lines[3]), **change})
    (store / "progress.jsonl").write_text("\n".join(lines) + "\n")
    without_checksums(store)
    for use in (
        lambda: prepare_store(music, store, workers=1),
        lambda: merge_stores([store], tmp_path / "merged"),
    ):
        with pytest.raises(InputError, match=r"line 4 of .*progress\.jsonl is not a record of a f"):
            use()


def test_the_checksum_of_a_file_is_its_sha256(original: Path) -> None:
    info = Store(original).info
    assert (
        info.checksums["train.idx"]
        == hashlib.sha256((original / "train.idx").read_bytes()).hexdigest()
    )
    assert info.checksums.keys() == {*TABLES, "progress.jsonl"}
