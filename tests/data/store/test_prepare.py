"""Preparing goes on from wherever it was stopped, and ends with the same store."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rwkv_music.data import (
    Shard,
    Store,
    examine_folder,
    merge_stores,
    prepare_store,
)
from rwkv_music.data.scanning import scan
from rwkv_music.data.store.progress_log import files_in, read_journal
from rwkv_music.data.store.store_info import StoreInfo
from rwkv_music.data.store.store_writer import StoreWriter
from rwkv_music.errors import InputError
from rwkv_music.score import save_score
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.worker_process import Failure
from tests.music import tune
from tests.stores import tables_of, write_tunes

CHILD = """
import sys
from rwkv_music.data import prepare_store
from rwkv_music.data.store import store_writer
store_writer._FLUSH_SECONDS = 0
prepare_store(sys.argv[1], sys.argv[2], workers=2)
"""
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from rwkv_music.cli import main
sys.exit(main(sys.argv[2:]))
"""


def python(text: str, *arguments: object, **settings: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        # On a full disk Python keeps half a compiled module, for all who come later.
        [sys.executable, "-c", text, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **settings,
    )


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 tunes, 30 copies, an empty file, and one that is no music."""
    folder = write_tunes(tmp_path_factory.mktemp("music"), 150)
    (folder / "b" / "empty.mid").touch()
    (folder / "noise.mid").write_bytes(b"MThd" + bytes(range(256)))
    return folder


@pytest.fixture(scope="module")
def whole(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its store, made in one go."""
    store = tmp_path_factory.mktemp("stores") / "whole"
    prepared = prepare_store(music, store, workers=2)
    assert (prepared.added, prepared.set_aside, prepared.already_there) == (180, 2, 0)
    return store


def lines_in(store: Path) -> int:
    return sum("name" in line for line, _ in read_journal(store / "journal.jsonl"))


def test_a_bad_file_is_set_aside_by_name_and_stops_nothing(whole: Path) -> None:
    first, second = (whole / "set_aside.txt").read_text().splitlines()
    assert first.startswith("b/empty.mid: is empty (0 bytes)")
    assert second.startswith("noise.mid: ")
    assert Store(whole).set_aside().keys() == {"b/empty.mid", "noise.mid"}
    assert Store(whole).info.set_aside == 2


def test_what_was_changed_in_a_file_is_listed_as_the_doctor_tells_it(tmp_path: Path) -> None:
    folder, store = tmp_path / "music", tmp_path / "store"
    write_tunes(folder, 3)
    many = tune(bars=4, parts=1, program=5)
    while len(many.tracks) < 40:
        many.tracks.append(many.tracks[0].copy().shift_pitch(len(many.tracks) % 12))
    short = tune(bars=4, seed=9)
    short.tracks[0].notes[1].duration = 0
    save_score(many, folder / "many.mid")
    save_score(short, folder / "short.mid")
    (folder / "cut.mid").write_bytes((folder / "short.mid").read_bytes()[:-30])
    prepare_store(folder, store, workers=1)
    told = {
        file.name: "; ".join(file.mended) for file in examine_folder(folder).files if file.mended
    }
    assert set(told) == {"many.mid", "short.mid", "cut.mid"}
    listed = (store / "mended.txt").read_text(encoding="utf-8").splitlines()
    assert listed == [f"{name}: {told[name]}" for name in sorted(told)]
    assert "9 parts of Electric Piano 2 become one" in listed[1]
    assert Store(store).info.mended == 3
    merge_stores([store], tmp_path / "merged")
    assert (tmp_path / "merged" / "mended.txt").read_text(encoding="utf-8").splitlines() == listed


def test_a_second_run_finds_nothing_to_do(music: Path, whole: Path) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir()}
    prepared = prepare_store(music, whole, workers=1)
    assert (prepared.added, prepared.set_aside, prepared.already_there) == (0, 0, 182)
    after = {path.name: path.read_bytes() for path in whole.iterdir()}
    for name in before.keys() - {"journal.jsonl"}:
        assert after[name] == before[name], name


def kill_and_go_on(music: Path, whole: Path, store: Path, lines: int) -> None:
    """Kill a real process once its journal has so many lines, and compare what comes of it."""
    process = python(CHILD, music, store)
    journal = store / "journal.jsonl"
    while process.poll() is None and not (journal.exists() and lines_in(store) >= lines):
        time.sleep(0.001)
    process.kill()
    process.communicate()
    kept = lines_in(store)
    assert kept >= lines
    prepared = prepare_store(music, store, workers=2)
    assert prepared.already_there == kept
    assert prepared.added + prepared.set_aside == 182 - kept
    assert tables_of(store) == tables_of(whole)


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_it_goes_on(
    seed: int, music: Path, whole: Path, tmp_path: Path
) -> None:
    kill_and_go_on(music, whole, tmp_path / "store", random.Random(seed).randrange(1, 180))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3, 30))
def test_killed_at_more_moments_it_goes_on(
    seed: int, music: Path, whole: Path, tmp_path: Path
) -> None:
    kill_and_go_on(music, whole, tmp_path / "store", random.Random(seed).randrange(0, 182))


@pytest.mark.parametrize("seed", range(6))
def test_whatever_a_power_cut_leaves_is_mended(
    seed: int, music: Path, whole: Path, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    store = tmp_path / "store"
    shutil.copytree(whole, store)
    # The last lines were never said to be on the disk; one file or the other lacks its end, or
    # holds zeros there, and the journal may be cut within a line.
    text = (store / "journal.jsonl").read_bytes().split(b"\n")
    kept = b"\n".join(line for line in text[: rng.randrange(5, 180)] if b"synced" not in line)
    (store / "journal.jsonl").write_bytes(kept[: len(kept) - rng.randrange(60)])
    damaged = store / rng.choice(["train.bin", "valid.bin", "train.bars", "valid.bars"])
    content = damaged.read_bytes()
    cut = rng.randrange(len(content))
    zeros = bytes(len(content) - cut) if damaged.suffix == ".bin" and rng.random() < 0.5 else b""
    damaged.write_bytes(content[:cut] + zeros)
    prepare_store(music, store, workers=1)
    assert tables_of(store) == tables_of(whole)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C in another way")
def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(
    music: Path, whole: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    text = CHILD.replace("prepare_store(sys.argv[1], sys.argv[2], workers=2)", "") + (
        "from rwkv_music.cli import main\n"
        "sys.exit(main(['prepare', sys.argv[1], '-o', sys.argv[2], '--workers', '1']))"
    )
    process = python(text, music, store, start_new_session=True)
    while not ((store / "journal.jsonl").exists() and lines_in(store) >= 3):
        assert process.poll() is None
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "finished files are kept: run the same command again to resume" in told
    assert "Traceback" not in told
    prepared = prepare_store(music, store, workers=2)
    assert 3 <= prepared.already_there < 182
    assert tables_of(store) == tables_of(whole)


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot limit the size of files")
def test_a_full_disk_gives_one_line_and_loses_nothing(
    music: Path, whole: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    process = python(LIMITED, 9_001, "prepare", music, "-o", store, "--workers", 1)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 2
    (line,) = [line for line in told.splitlines() if line.startswith("rwkv-music: ")]
    assert line == (
        f"rwkv-music: {store} cannot be written to (File too large): free some space or choose "
        "another place; the same command goes on from where it stopped"
    )
    assert "Traceback" not in told
    prepare_store(music, store, workers=2)
    assert tables_of(store) == tables_of(whole)


def test_new_files_are_added_and_the_old_ones_stay_on_their_side(tmp_path: Path) -> None:
    folder, store = write_tunes(tmp_path / "music", 12), tmp_path / "store"
    prepare_store(folder, store, workers=1)
    sides = {piece.name: "train" for piece in Store(store).train}
    sides |= {piece.name: "valid" for piece in Store(store).valid}
    write_tunes(folder, 12, first=12)
    prepared = prepare_store(folder, store, workers=1)
    assert (prepared.added, prepared.already_there) == (14, 15)
    opened = Store(store)
    for side, pieces in (("train", opened.train), ("valid", opened.valid)):
        assert {sides.get(piece.name, side) for piece in pieces} == {side}
    assert opened.info.pieces["train"] + opened.info.pieces["valid"] == 29


def test_changed_files_are_told_and_mended_ones_tried_again(tmp_path: Path) -> None:
    folder, store = write_tunes(tmp_path / "music", 6), tmp_path / "store"
    (folder / "b" / "bad.mid").write_bytes(b"nothing")
    prepare_store(folder, store, workers=1)
    tunes = sorted((folder / "b").glob("[0-9].mid"))
    shutil.copy(tunes[0], folder / "b" / "bad.mid")
    tunes[1].write_bytes(b"other content")
    prepared = prepare_store(folder, store, workers=1)
    assert prepared.changed == [tunes[1].relative_to(folder).as_posix()]
    assert (prepared.added, prepared.set_aside) == (1, 0)
    opened = Store(store)
    assert "b/bad.mid" in {piece.name for piece in (*opened.train, *opened.valid)}
    assert opened.set_aside() == {}
    assert (store / "set_aside.txt").read_text() == ""


def test_a_file_that_came_too_late_is_tried_again(tmp_path: Path) -> None:
    folder, store = write_tunes(tmp_path / "music", 3, first=1), tmp_path / "store"
    slow = next(file for file in scan(folder) if file.name == "b/2.mid")
    with StoreWriter(store, StoreInfo.of(Tokenizer(), 0.1)) as writer:
        writer.set_aside(slow, Failure("late", "takes more than 1 s"))
    prepared = prepare_store(folder, store, workers=1)
    assert (prepared.added, prepared.set_aside, prepared.already_there) == (3, 0, 0)
    assert Store(store).set_aside() == {}


def test_the_journal_keeps_the_traceback_of_a_bug(tmp_path: Path) -> None:
    folder, store = write_tunes(tmp_path / "music", 2, first=1), tmp_path / "store"
    first, second = scan(folder)
    with StoreWriter(store, StoreInfo.of(Tokenizer(), 0.1)) as writer:
        writer.set_aside(first, Failure("failed", "KeyError: 7", "Traceback ... line 3"))
        writer.set_aside(second, Failure("refused", "is empty"))
        writer.finish()
    merge_stores([store], tmp_path / "merged")
    for place in (store, tmp_path / "merged"):
        details = [line.get("detail") for line in files_in(place / "journal.jsonl")]
        assert details == ["Traceback ... line 3", None]


@pytest.fixture(scope="module")
def shards(music: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("shards")
    stores = [folder / str(number) for number in range(2)]
    for number, store in enumerate(stores):
        prepare_store(music, store, workers=1, shard=Shard(number, 2))
    return stores


def test_merged_shards_are_the_store_made_in_one_go(
    shards: list[Path], whole: Path, tmp_path: Path
) -> None:
    counts = [sum(Store(store).info.pieces.values()) for store in shards]
    assert sum(counts) == 180
    assert min(counts) > 60
    info = merge_stores(list(reversed(shards)), tmp_path / "merged")
    assert tables_of(tmp_path / "merged") == tables_of(whole)
    assert info == Store(whole).info
    names = [line["name"] for line in files_in(tmp_path / "merged" / "journal.jsonl")]
    assert names == sorted(names, key=lambda name: name.split("/"))
    listed = [(path / "set_aside.txt").read_text() for path in (tmp_path / "merged", whole)]
    assert listed[0] == listed[1]


def test_stores_that_overlap_are_merged_without_duplicates(
    shards: list[Path], whole: Path, tmp_path: Path
) -> None:
    merge_stores([whole, *shards], tmp_path / "merged")
    assert tables_of(tmp_path / "merged") == tables_of(whole)


def test_stores_that_disagree_are_not_merged(whole: Path, tmp_path: Path) -> None:
    folder = write_tunes(tmp_path / "music", 2, first=1)
    (folder / "b" / "1.mid").write_bytes((folder / "b" / "2.mid").read_bytes())
    prepare_store(folder, tmp_path / "other", workers=1)
    with pytest.raises(InputError, match=r"hold different music under the name b/1\.mid: prepare"):
        merge_stores([whole, tmp_path / "other"], tmp_path / "merged")
    prepare_store(folder, tmp_path / "finer", tokenizer=Tokenizer(velocities=64), workers=1)
    with pytest.raises(InputError, match=r"velocities 32, .* has .*velocities 64, .*: use the"):
        merge_stores([whole, tmp_path / "finer"], tmp_path / "merged")
    with pytest.raises(InputError, match=r"other is there already: name a new folder"):
        merge_stores([whole], tmp_path / "other")
    assert not (tmp_path / "merged").exists()


def test_a_merge_deletes_what_a_merge_left_and_nothing_else(whole: Path, tmp_path: Path) -> None:
    partial, merged = tmp_path / "merged.partial", tmp_path / "merged"
    refused = r"merged\.partial, where the merged store is made, is there already .*: move it away"
    partial.mkdir()
    (partial / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=refused):
        merge_stores([whole], merged)
    StoreInfo.of(Tokenizer(), 0.1).write(partial)
    with pytest.raises(InputError, match=refused):
        merge_stores([whole], merged)
    assert (partial / "thesis.tex").read_text() == "years of work"
    (partial / "thesis.tex").unlink()
    merge_stores([whole], merged)
    assert tables_of(merged) == tables_of(whole)
    shutil.copytree(whole, partial)
    shutil.rmtree(merged)
    with pytest.raises(InputError, match=refused):  # a finished store is somebody's
        merge_stores([whole], merged)


def test_a_place_where_no_merged_store_can_be_is_told_in_one_line(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    told = r"cannot be written to \(Permission denied\): choose another place"
    (tmp_path / "merged.partial").mkdir()
    StoreInfo.of(Tokenizer(), 0.1).write(tmp_path / "merged.partial")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        with pytest.raises(InputError, match=rf"merged\.partial {told}"):
            merge_stores([whole], tmp_path / "merged")
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(InputError, match=rf"merged {told}"):
        merge_stores([whole], tmp_path / "merged")


def test_a_disk_without_locks_is_not_called_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl", reason="Windows locks files in another way")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(InputError, match=r"\(No locks available\): its file system has no locks"):
        StoreWriter(tmp_path / "store", StoreInfo.of(Tokenizer(), 0.1))


def test_two_processes_cannot_write_to_one_store(music: Path, whole: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    info = Store(whole).info
    with (
        StoreWriter(store, StoreInfo.of(Tokenizer(), info.valid_share)),
        pytest.raises(InputError, match="is being written to by another process: wait for it, or"),
    ):
        prepare_store(music, store, workers=1)


def test_a_store_of_other_settings_is_not_added_to(music: Path, whole: Path) -> None:
    with pytest.raises(InputError, match=r"steps_per_quarter 96, .* this run has .* 192, .*: use"):
        prepare_store(music, whole, tokenizer=Tokenizer(steps_per_quarter=192))
    with pytest.raises(InputError, match=r"holds out a share of 0\.1, this run of 0\.2: use the s"):
        prepare_store(music, whole, valid_share=0.2)


def test_places_that_cannot_be_a_store_are_refused(music: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"holds thesis\.tex and is no token store: name an empty"):
        prepare_store(music, tmp_path)
    with pytest.raises(InputError, match=r"thesis\.tex.* cannot be written to \("):
        prepare_store(music, tmp_path / "thesis.tex" / "store")


def test_folders_without_music_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is not a folder: give a folder with music"):
        prepare_store(tmp_path / "nowhere", tmp_path / "store")
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match=r"in holds no file that ends in one of \.mid \.midi"):
        prepare_store(tmp_path / "in", tmp_path / "store")
    (tmp_path / "in" / "a.mid").touch()
    with pytest.raises(InputError, match=r"none of the 1 files in .* can be used .*; first: a\."):
        prepare_store(tmp_path / "in", tmp_path / "store", workers=1)
