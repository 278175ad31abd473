"""Every file that may be music is listed, in a fixed order, in any folder."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwkv_music.data import Shard, Store, load_corpus, prepare_store
from rwkv_music.data.doctor.folder_report import examine_folder
from rwkv_music.data.scanning import find_files, scan_folder, sort_key
from rwkv_music.errors import InputError
from tests.stores import write_tunes


def names(folder: Path, shard: Shard | None = None) -> list[str]:
    return [file.name for file in scan_folder(folder, shard)]


def test_files_are_sorted_by_name_folder_by_folder(tmp_path: Path) -> None:
    for name in ("b/2.mid", "b/10.MID", "b-c/1.abc", "a.mid", "b/deep/er.kar", "c.txt", "B.mxl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    actual = names(tmp_path)
    assert actual == ["B.mxl", "a.mid", "b/10.MID", "b/2.mid", "b/deep/er.kar", "b-c/1.abc"]
    assert actual == sorted(actual, key=sort_key)


@given(st.lists(st.text(min_size=1), unique=True), st.integers(1, 5))
def test_each_file_belongs_to_one_shard(files: list[str], shards: int) -> None:
    for name in files:
        assert sum(Shard(index, shards).contains(name) for index in range(shards)) == 1


def test_shards_are_about_equal() -> None:
    names = [f"{index}.mid" for index in range(4000)]
    counts = [sum(map(Shard(index, 4).contains, names)) for index in range(4)]
    assert sum(counts) == 4000
    assert min(counts) > 900


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2/2", "shard 2/2 does not exist: i counts from 0, so it must be below 2"),
        ("1", "'1' is not a shard: write i/n, such as 0/4 for the first of 4"),
        ("-1/2", "is not a shard"),
        ("0/0", "does not exist"),
    ],
)
def test_a_shard_that_does_not_exist_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Shard.parse(text)


@pytest.mark.skipif(os.name == "nt", reason="Windows lets only administrators make links")
def test_links_are_followed_and_loops_are_reported(tmp_path: Path) -> None:
    music = write_tunes(tmp_path / "music", 2, first=1)
    elsewhere = write_tunes(tmp_path / "elsewhere", 1, first=4)
    (music / "b" / "up").symlink_to(music)
    (music / "away").symlink_to(elsewhere)
    (music / "gone.mid").symlink_to(tmp_path / "nowhere.mid")
    actual = {file.name: file.problem for file in scan_folder(music)}
    assert actual == {
        "away/b/4.mid": "",
        "b/1.mid": "",
        "b/2.mid": "",
        "b/up": "is a link to a folder that contains it: remove the link",
        "gone.mid": "cannot be opened (No such file or directory): check the file",
    }
    prepare_store(music, tmp_path / "store", workers=1)
    assert Store(tmp_path / "store").skipped_files().keys() == {"b/up", "gone.mid"}
    examined = {file.name: file.reason for file in examine_folder(music, workers=1).files}
    assert {name: examined[name] for name, problem in actual.items() if problem} == {
        name: problem for name, problem in actual.items() if problem
    }
    assert load_corpus(music).skipped.keys() >= {"b/up", "gone.mid"}


def test_other_files_are_counted_by_their_endings(tmp_path: Path) -> None:
    for name in ("a.TXT", "b/c.txt", "b/README", "b/d.mid", "e.tar.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    actual = find_files(tmp_path)
    assert [file.name for file in actual.music] == ["b/d.mid"]
    assert actual.ignored == {".txt": 2, "": 1, ".gz": 1}


@pytest.mark.skipif(os.name == "nt", reason="Windows has a limit on the length of paths")
def test_a_deeply_nested_folder_is_not_reported_as_a_loop(tmp_path: Path) -> None:
    (tmp_path / "/".join("d" * 101)).mkdir(parents=True)
    (actual,) = scan_folder(tmp_path)
    assert actual.name == "/".join("d" * 101)
    assert actual.problem == "is more than 100 folders deep: move it further up"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are not text")
def test_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    music = write_tunes(tmp_path / "music", 2, first=1)
    name = os.fsdecode(b"b/caf\xe9\xff.mid")
    (music / "b" / "1.mid").rename(music / name)
    (music / os.fsdecode(b"b\xff.mid")).touch()
    (music / "b" / "line\nbreak.mid").write_bytes((music / "b" / "2.mid").read_bytes())
    prepare_store(music, tmp_path / "store", workers=1)
    store = Store(tmp_path / "store")
    actual = {piece.name for piece in (*store.train, *store.valid)}
    assert actual == {name, "b/2.mid", "b/line\nbreak.mid"}
    listed = (tmp_path / "store" / "skipped.txt").read_text(encoding="utf-8")
    assert listed.startswith("b\\xff.mid: is empty")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="root may read everything: run as another user",
)
def test_files_without_permission_are_reported(tmp_path: Path) -> None:
    music = write_tunes(tmp_path / "music", 3, first=1)
    (music / "b" / "1.mid").chmod(0)
    (music / "a b").chmod(0)
    try:
        prepare_store(music, tmp_path / "store", workers=1)
    finally:
        (music / "a b").chmod(0o700)
    skipped = Store(tmp_path / "store").skipped_files()
    assert skipped["a b"] == "cannot be listed (Permission denied)"
    assert "Permission denied" in skipped["b/1.mid"]
