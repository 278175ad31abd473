"""Files are written aside and renamed: whole, on the disk, and readable like any other."""

import errno
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rwkv_music import atomic
from rwkv_music.atomic import atomic_writer, final_name, write_atomic


def test_a_failure_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "score.mid"
    write_atomic(path, b"old")

    def write_half() -> None:
        with atomic_writer(path) as aside:
            aside.write_bytes(b"ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no limit for the size of a file")
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "config.json"
    write_atomic(path, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_atomic(path, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_contents_are_on_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, order = tmp_path / "status.json", []
    monkeypatch.setattr(
        atomic, "flush_to_disk", lambda flushed: order.append((flushed.is_dir(), path.exists()))
    )
    write_atomic(path, b"{}")
    assert order == [(False, False), (True, True)]


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no such modes")
def test_a_file_has_the_mode_of_any_new_file_whoever_wrote_it(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()
    path = tmp_path / "model.safetensors"
    with atomic_writer(path) as aside:
        save_file({"w": torch.zeros(1)}, aside)
        aside.chmod(0o600)  # what some versions of the library leave
    assert path.stat().st_mode == usual.stat().st_mode


def test_a_name_on_the_way_tells_what_it_will_be(tmp_path: Path) -> None:
    with atomic_writer(tmp_path / "train.idx") as aside:
        assert aside.name.endswith(".partial")
        assert final_name(aside.name) == "train.idx"
        aside.touch()
    assert final_name("notes.partial") == "notes.partial"


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a" / "b" / "c.txt", b"there")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == b"there"


@pytest.mark.skipif(os.name == "nt", reason="Windows flushes no folders")
@pytest.mark.parametrize("refused", ["folders", "files"])
def test_a_file_system_may_flush_no_names_but_must_flush_contents(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == (refused == "folders"):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    path = tmp_path / "status.json"
    if refused == "folders":
        write_atomic(path, b"{}")
        assert path.read_bytes() == b"{}"
    else:
        with pytest.raises(OSError, match="Invalid argument"):
            write_atomic(path, b"{}")
        assert list(tmp_path.iterdir()) == []
