"""An interrupted prepare continues and ends with the same store."""

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

from rwkv_music.data import Shard, Store, examine_folder, merge_stores, prepare_store
from rwkv_music.data.scanning import scan_folder
from rwkv_music.data.store.progress_log import file_records, read_progress_log
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
    """150 tunes, 30 copies, an empty file, and one that is not music."""
    folder = write_tunes(tmp_path_factory.mktemp("music"), 150)
    (folder / "b" / "empty.mid").touch()
    (folder / "noise.mid").write_bytes(b"MThd" + bytes(range(256)))
    return folder


@pytest.fixture(scope="module")
def whole(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their store, made without interruption."""
    store = tmp_path_factory.mktemp("stores") / "whole"
    result = prepare_store(music, store, workers=2)
    assert (result.added, result.skipped, result.unchanged) == (180, 2, 0)
    return store


def num_records(store: Path) -> int:
    log = read_progress_log(store / "progress.jsonl")
    return sum("name" in record for record, _ in log)


def test_a_bad_file_is_listed_and_the_others_are_prepared(whole: Path) -> None:
    first, second = (whole / "skipped.txt").read_text().splitlines()
    assert first.startswith("b/empty.mid: is empty (0 bytes)")
    assert second.startswith("noise.mid: ")
    assert Store(whole).skipped_files().keys() == {"b/empty.mid", "noise.mid"}
    assert Store(whole).info.skipped == 2


def test_repairs_are_listed_in_the_words_of_the_doctor(tmp_path: Path) -> None:
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
    repairs = {
        file.name: "; ".join(file.repairs) for file in examine_folder(folder).files if file.repairs
    }
    assert set(repairs) == {"many.mid", "short.mid", "cut.mid"}
    listed = (store / "repaired.txt").read_text(encoding="utf-8").splitlines()
    assert listed == [f"{name}: {repairs[name]}" for name in sorted(repairs)]
    assert "9 parts of Electric Piano 2 are merged into one" in listed[1]
    assert Store(store).info.repaired == 3
    merge_stores([store], tmp_path / "merged")
    assert (tmp_path / "merged" / "repaired.txt").read_text(encoding="utf-8").splitlines() == listed


def test_a_second_run_has_nothing_to_do(music: Path, whole: Path) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir()}
    result = prepare_store(music, whole, workers=1)
    assert (result.added, result.skipped, result.unchanged) == (0, 0, 182)
    after = {path.name: path.read_bytes() for path in whole.iterdir()}
    for name in before.keys() - {"progress.jsonl"}:
        assert after[name] == before[name], name


def kill_and_continue(music: Path, whole: Path, store: Path, records: int) -> None:
    """Kill a process once its progress log has some records; the next one makes the same store."""
    process = python(CHILD, music, store)
    log = store / "progress.jsonl"
    while process.poll() is None and not (log.exists() and num_records(store) >= records):
        time.sleep(0.001)
    process.kill()
    process.communicate()
    kept = num_records(store)
    assert kept >= records
    result = prepare_store(music, store, workers=2)
    assert result.unchanged == kept
    assert result.added + result.skipped == 182 - kept
    assert tables_of(store) == tables_of(whole)


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_prepare_continues(seed: int, music: Path, whole: Path, tmp_path: Path) -> None:
    kill_and_continue(music, whole, tmp_path / "store", random.Random(seed).randrange(1, 180))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3, 30))
def test_a_prepare_killed_at_more_moments_continues(
    seed: int, music: Path, whole: Path, tmp_path: Path
) -> None:
    kill_and_continue(music, whole, tmp_path / "store", random.Random(seed).randrange(0, 182))


@pytest.mark.parametrize("seed", range(6))
def test_a_store_is_recovered_after_a_power_failure(
    seed: int, music: Path, whole: Path, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    store = tmp_path / "store"
    shutil.copytree(whole, store)
    StoreInfo.of(Tokenizer(), 0.1).write(store)  # not finished yet
    # The last records were not synced: a file may lack its end or have zeros there, and the log
    # may be cut within a line.
    text = (store / "progress.jsonl").read_bytes().split(b"\n")
    kept = b"\n".join(line for line in text[: rng.randrange(5, 180)] if b"synced" not in line)
    (store / "progress.jsonl").write_bytes(kept[: len(kept) - rng.randrange(60)])
    damaged = store / rng.choice(["train.bin", "valid.bin", "train.bars", "valid.bars"])
    content = damaged.read_bytes()
    cut = rng.randrange(len(content))
    zeros = bytes(len(content) - cut) if damaged.suffix == ".bin" and rng.random() < 0.5 else b""
    damaged.write_bytes(content[:cut] + zeros)
    prepare_store(music, store, workers=1)
    assert tables_of(store) == tables_of(whole)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C in another way")
def test_ctrl_c_keeps_what_is_done_and_says_how_to_continue(
    music: Path, whole: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    text = CHILD.replace("prepare_store(sys.argv[1], sys.argv[2], workers=2)", "") + (
        "from rwkv_music.cli import main\n"
        "sys.exit(main(['prepare', sys.argv[1], '-o', sys.argv[2], '--workers', '1']))"
    )
    process = python(text, music, store, start_new_session=True)
    while not ((store / "progress.jsonl").exists() and num_records(store) >= 3):
        assert process.poll() is None
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "finished files are kept: run the same command again to resume" in stderr
    assert "Traceback" not in stderr
    result = prepare_store(music, store, workers=2)
    assert 3 <= result.unchanged < 182
    assert tables_of(store) == tables_of(whole)


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot limit the size of files")
def test_a_full_disk_is_reported_in_one_line_and_loses_nothing(
    music: Path, whole: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    process = python(LIMITED, 9_001, "prepare", music, "-o", store, "--workers", 1)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 2
    (line,) = [line for line in stderr.splitlines() if line.startswith("rwkv-music: ")]
    assert line == (
        f"rwkv-music: {store} cannot be written (File too large): free some space or choose "
        "another path; the same command continues from where it stopped"
    )
    assert "Traceback" not in stderr
    prepare_store(music, store, workers=2)
    assert tables_of(store) == tables_of(whole)


def test_new_files_are_added_and_the_old_ones_stay_in_their_split(tmp_path: Path) -> None:
    folder, store = write_tunes(tmp_path / "music", 12), tmp_path / "store"
    prepare_store(folder, store, workers=1)
    splits = {piece.name: "train" for piece in Store(store).train}
    splits |= {piece.name: "valid" for piece in Store(store).valid}
    write_tunes(folder, 12, first=12)
    result = prepare_store(folder, store, workers=1)
    assert (result.added, result.unchanged) == (14, 15)
    opened = Store(store)
    for split, pieces in (("train", opened.train), ("valid", opened.valid)):
        assert {splits.get(piece.name, split) for piece in pieces} == {split}
    assert opened.info.pieces["train"] + opened.info.pieces["valid"] == 29


def test_changed_files_are_reported_and_skipped_ones_tried_again(tmp_path: Path) -> None:
    folder, store = write_tunes(tmp_path / "music", 6), tmp_path / "store"
    (folder / "b" / "bad.mid").write_bytes(b"nothing")
    prepare_store(folder, store, workers=1)
    tunes = sorted((folder / "b").glob("[0-9].mid"))
    shutil.copy(tunes[0], folder / "b" / "bad.mid")
    tunes[1].write_bytes(b"other content")
    result = prepare_store(folder, store, workers=1)
    assert result.changed == [tunes[1].relative_to(folder).as_posix()]
    assert (result.added, result.skipped) == (1, 0)
    opened = Store(store)
    assert "b/bad.mid" in {piece.name for piece in (*opened.train, *opened.valid)}
    assert opened.skipped_files() == {}
    assert (store / "skipped.txt").read_text() == ""


def test_a_file_that_timed_out_is_tried_again(tmp_path: Path) -> None:
    folder, store = write_tunes(tmp_path / "music", 3, first=1), tmp_path / "store"
    slow = next(file for file in scan_folder(folder) if file.name == "b/2.mid")
    with StoreWriter(store, StoreInfo.of(Tokenizer(), 0.1)) as writer:
        writer.skip(slow, Failure("late", "takes more than 1 s"))
    result = prepare_store(folder, store, workers=1)
    assert (result.added, result.skipped, result.unchanged) == (3, 0, 0)
    assert Store(store).skipped_files() == {}


def test_the_progress_log_keeps_the_traceback_of_a_bug(tmp_path: Path) -> None:
    folder, store = write_tunes(tmp_path / "music", 2, first=1), tmp_path / "store"
    first, second = scan_folder(folder)
    with StoreWriter(store, StoreInfo.of(Tokenizer(), 0.1)) as writer:
        writer.skip(first, Failure("failed", "KeyError: 7", "Traceback ... line 3"))
        writer.skip(second, Failure("refused", "is empty"))
        writer.finish()
    merge_stores([store], tmp_path / "merged")
    for path in (store, tmp_path / "merged"):
        details = [record.get("detail") for record in file_records(path)]
        assert details == ["Traceback ... line 3", None]


@pytest.fixture(scope="module")
def shards(music: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("shards")
    stores = [folder / str(index) for index in range(2)]
    for index, store in enumerate(stores):
        prepare_store(music, store, workers=1, shard=Shard(index, 2))
    return stores


def test_merged_shards_equal_the_store_of_all_files(
    shards: list[Path], whole: Path, tmp_path: Path
) -> None:
    counts = [sum(Store(store).info.pieces.values()) for store in shards]
    assert sum(counts) == 180
    assert min(counts) > 60
    info = merge_stores(list(reversed(shards)), tmp_path / "merged")
    assert tables_of(tmp_path / "merged") == tables_of(whole)
    assert info == Store(whole).info
    names = [record["name"] for record in file_records(tmp_path / "merged")]
    assert names == sorted(names, key=lambda name: name.split("/"))
    listed = [(path / "skipped.txt").read_text() for path in (tmp_path / "merged", whole)]
    assert listed[0] == listed[1]


def test_stores_that_overlap_are_merged_without_duplicates(
    shards: list[Path], whole: Path, tmp_path: Path
) -> None:
    merge_stores([whole, *shards], tmp_path / "merged")
    assert tables_of(tmp_path / "merged") == tables_of(whole)


def test_stores_with_different_music_or_settings_are_not_merged(
    whole: Path, tmp_path: Path
) -> None:
    folder = write_tunes(tmp_path / "music", 2, first=1)
    (folder / "b" / "1.mid").write_bytes((folder / "b" / "2.mid").read_bytes())
    prepare_store(folder, tmp_path / "other", workers=1)
    with pytest.raises(
        InputError, match=r"contain different music under the name b/1\.mid: prepare"
    ):
        merge_stores([whole, tmp_path / "other"], tmp_path / "merged")
    prepare_store(folder, tmp_path / "finer", tokenizer=Tokenizer(velocities=64), workers=1)
    with pytest.raises(InputError, match=r"velocities 32, .* has .*velocities 64, .*: use the"):
        merge_stores([whole, tmp_path / "finer"], tmp_path / "merged")
    with pytest.raises(InputError, match=r"other exists already: choose a new folder"):
        merge_stores([whole], tmp_path / "other")
    assert not (tmp_path / "merged").exists()


def test_a_merge_deletes_only_what_an_interrupted_merge_left(whole: Path, tmp_path: Path) -> None:
    partial, merged = tmp_path / "merged.partial", tmp_path / "merged"
    refused = r"merged\.partial, where the merged store is made, exists already .*: move it away"
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
    with pytest.raises(InputError, match=refused):  # a finished store may belong to somebody
        merge_stores([whole], merged)


def test_a_merged_store_that_cannot_be_written_is_reported_in_one_line(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    message = r"cannot be written \(Permission denied\): choose a path"
    (tmp_path / "merged.partial").mkdir()
    StoreInfo.of(Tokenizer(), 0.1).write(tmp_path / "merged.partial")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        with pytest.raises(InputError, match=rf"merged\.partial {message}"):
            merge_stores([whole], tmp_path / "merged")
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(InputError, match=rf"merged {message}"):
        merge_stores([whole], tmp_path / "merged")


def test_a_disk_without_locks_is_not_reported_as_another_process(
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
        StoreWriter(store, StoreInfo.of(Tokenizer(), info.valid_fraction)),
        pytest.raises(InputError, match="is being written to by another process: wait for it, or"),
    ):
        prepare_store(music, store, workers=1)


def test_a_store_of_other_settings_is_refused(music: Path, whole: Path) -> None:
    with pytest.raises(InputError, match=r"steps_per_quarter 96, .* this run has .* 192, .*: use"):
        prepare_store(music, whole, tokenizer=Tokenizer(steps_per_quarter=192))
    with pytest.raises(
        InputError, match=r"has a valid_fraction of 0\.1, this run has one of 0\.2: use the"
    ):
        prepare_store(music, whole, valid_fraction=0.2)


def test_a_folder_with_other_files_is_refused(music: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"contains thesis\.tex and is not a token store: choose"):
        prepare_store(music, tmp_path)
    with pytest.raises(InputError, match=r"thesis\.tex.* cannot be written \("):
        prepare_store(music, tmp_path / "thesis.tex" / "store")


def test_folders_without_music_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is not a folder: give a folder of music"):
        prepare_store(tmp_path / "nowhere", tmp_path / "store")
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match=r"in contains no file that ends in one of \.mid \.midi"):
        prepare_store(tmp_path / "in", tmp_path / "store")
    (tmp_path / "in" / "a.mid").touch()
    with pytest.raises(InputError, match=r"none of the 1 files in .* can be used .*; first: a\."):
        prepare_store(tmp_path / "in", tmp_path / "store", workers=1)
