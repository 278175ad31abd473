"""One file with a bad name never ends doctor, prepare, merge or training."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rwkv_music.data import Store, examine_folder, load_corpus, merge_stores, prepare_store
from rwkv_music.data.doctor.report_text import summary_text, table_text
from tests.stores import write_tunes

NAMES = [
    b"b/caf\xe9\xff.mid",
    b"b/line\nbreak.mid",
    b"b/\x1b[31mred.mid",
    b"b/\xf0\x9f\x8e\xb5 \xe9\x9f\xb3.mid",
    b"b/x.mid\xff",
    b"b\xff/unreadable.mid",
]
SHOWN = [
    "b/caf\\xe9\\xff.mid",
    "b/line\\nbreak.mid",
    "b/\\x1b[31mred.mid",
    "b/🎵 音.mid",
    "b\\xff/unreadable.mid",
]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has file names that are not text"
)


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Six tunes with good names, and files with names that are hard to print."""
    folder = write_tunes(tmp_path / "music", 10, first=1)
    for index, name in enumerate(NAMES):
        path = folder / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        source = write_tunes(folder.parent / "more", 1, first=31 + index).rglob("*.mid")
        content = b"no music" if b"unreadable" in name else next(source).read_bytes()
        path.write_bytes(content)
    return folder


def command(*arguments: object, **settings: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "rwkv_music", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **settings},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_doctor_reports_every_name_on_any_terminal(
    music: Path, tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "report.json"
    done = command("doctor", music, "--json", path, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(encoding)
    for name in SHOWN:
        assert name.encode(encoding, "backslashreplace").decode(encoding) in text
    assert "\x1b" not in text
    report = json.loads(path.read_text(encoding="utf-8"))
    names = {file["name"] for file in report["files"]}
    assert {os.fsdecode(name) for name in NAMES} - names == {os.fsdecode(b"b/x.mid\xff")}
    assert report["ignored"] == {os.fsdecode(b".mid\xff"): 1}


def test_tables_and_summaries_can_be_encoded(music: Path) -> None:
    report = examine_folder(music, workers=1)
    for text in (table_text(report), summary_text(report)):
        text.encode("utf-8")
        assert "\x1b" not in text
        assert len(text.splitlines()) == text.count("\n") + 1
    assert "\\xe9" in table_text(report)


def test_stores_of_bad_names_are_prepared_merged_and_listed(music: Path, tmp_path: Path) -> None:
    done = command("prepare", music, "-o", tmp_path / "store", "--workers", 1)
    assert done.returncode == 0, done.stderr
    merge_stores([tmp_path / "store"], tmp_path / "merged")
    for path in (tmp_path / "store", tmp_path / "merged"):
        store = Store(path)
        names = {piece.name for piece in (*store.train, *store.valid)}
        assert {os.fsdecode(name) for name in NAMES[:4]} < names
        assert (path / "skipped.txt").read_text(encoding="utf-8").startswith(f"{SHOWN[-1]}: ")


def test_training_on_bad_names_works(music: Path, tmp_path: Path) -> None:
    corpus = load_corpus(music)
    assert os.fsdecode(NAMES[0]) in {piece.name for piece in corpus.pieces}
    assert len(corpus.content_hash) == 64
    prepare_store(music, tmp_path / "store", workers=1)
    for option, source in (("--corpus", music), ("--store", tmp_path / "store")):
        done = command(
            "train", option, source, "--preset", "tiny", "--steps", "1", "--out",
            tmp_path / f"run{option}",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        config = json.loads((tmp_path / f"run{option}" / "config.json").read_text())
        skipped = config["corpus"]["skipped"]
        assert list(skipped) == [os.fsdecode(NAMES[-1])]
