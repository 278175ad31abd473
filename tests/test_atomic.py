"""Atomic file writing: complete or absent, flushed to disk, with the usual file mode."""

import errno
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rwkv_music import atomic
from rwkv_music.atomic import atomic_writer, final_name, write_atomic


def test_a_failure_while_writing_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "score.mid"
    write_atomic(path, b"old")

    def write_half() -> None:
        with atomic_writer(path) as partial:
            partial.write_bytes(b"ne")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of a file")
def test_a_full_disk_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
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


def test_the_contents_are_flushed_before_the_rename_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, order = tmp_path / "status.json", []
    monkeypatch.setattr(
        atomic, "flush_to_disk", lambda flushed: order.append((flushed.is_dir(), path.exists()))
    )
    write_atomic(path, b"{}")
    assert order == [(False, False), (True, True)]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such file modes")
def test_a_file_gets_the_default_mode_whichever_library_wrote_it(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()
    path = tmp_path / "model.safetensors"
    with atomic_writer(path) as partial:
        save_file({"w": torch.zeros(1)}, partial)
        partial.chmod(0o600)  # as some versions of the library do
    assert path.stat().st_mode == usual.stat().st_mode


def test_the_final_name_is_known_from_a_temporary_one(tmp_path: Path) -> None:
    with atomic_writer(tmp_path / "train.idx") as partial:
        assert partial.name.endswith(".partial")
        assert final_name(partial.name) == "train.idx"
        partial.touch()
    assert final_name("notes.partial") == "notes.partial"


def test_missing_folders_are_created(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a" / "b" / "c.txt", b"there")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == b"there"


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot flush folders")
@pytest.mark.parametrize("refused", ["folders", "files"])
def test_a_file_system_may_refuse_to_flush_folders_but_not_files(
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
