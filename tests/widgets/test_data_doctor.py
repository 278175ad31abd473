"""The data doctor in Python: examine, show, select, and never read what could not be read."""

import os
import sys
from pathlib import Path

import pytest
from rwkv_music_widgets import DataDoctor

from rwkv_music.data import examine_folder
from rwkv_music.errors import InputError
from rwkv_music.score import save_score
from tests.data.crashing import CRASH_PITCH, CrashingTokenizer
from tests.music import tune


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in range(3):
        save_score(tune(bars=6, seed=seed), tmp_path / f"{seed}.mid")
    (tmp_path / "<broken>.mid").write_bytes(b"no music")
    return tmp_path


def test_a_folder_is_examined_and_shown(folder: Path) -> None:
    doctor = DataDoctor(folder)
    report = doctor.wait(60)
    assert doctor.report is report
    assert doctor.message == ""
    assert [row["verdict"] for row in doctor.table.rows] == ["fine"] * 3 + ["skipped"]
    assert doctor.table.rows[0]["texts"][:3] == ["fine", "0.mid", "6"]
    assert doctor.table.rows[0]["values"][2] == 6
    assert "<b>Can I train on this?</b>" in doctor.summary.value
    assert "&lt;broken&gt;.mid" in doctor.summary.value
    assert doctor.pictures.value[:4] == b"\x89PNG"
    assert {row["texts"][-1] for row in doctor.table.rows} == {"learn", "test", "-"}


def test_a_row_is_shown_in_the_piano_roll(folder: Path) -> None:
    doctor = DataDoctor(examine_folder(folder, workers=1))
    doctor.select("1.mid")
    assert doctor.roll.score.note_num() == tune(bars=6, seed=1).note_num()
    assert "1.mid" in doctor.title.value
    doctor.select("<broken>.mid")
    assert doctor.message.startswith("<broken>.mid cannot be shown: ")
    assert "is not a MIDI file" in doctor.message
    doctor.select("2.mid")
    assert doctor.message == ""
    (folder / "0.mid").unlink()
    doctor.select("0.mid")
    assert "file not found" in doctor.message
    with pytest.raises(InputError, match=r"there is no file 'x\.mid' in the table"):
        doctor.select("x.mid")


def test_a_folder_that_is_none_becomes_a_message(tmp_path: Path) -> None:
    doctor = DataDoctor(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is not a folder"):
        doctor.wait(60)
    assert "is not a folder" in doctor.message


def test_a_file_that_crashes_its_reader_leaves_the_kernel_alone(folder: Path) -> None:
    score = tune(bars=6)
    score.tracks[0].notes[0].pitch = CRASH_PITCH
    save_score(score, folder / "crash.mid")
    doctor = DataDoctor(folder, tokenizer=CrashingTokenizer())
    (crashed,) = [file for file in doctor.wait(60).files if file.name == "crash.mid"]
    assert crashed.verdict == "skipped"
    assert crashed.notes is None
    doctor.select("crash.mid")
    assert doctor.message.startswith("crash.mid cannot be shown: ")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are not text")
def test_a_file_whose_name_is_not_utf8_can_be_selected(folder: Path) -> None:
    (folder / "1.mid").rename(folder / os.fsdecode(b"caf\xe9.mid"))
    doctor = DataDoctor(examine_folder(folder, workers=1))
    names = [row["name"] for row in doctor.table.rows]
    assert "caf\\xe9.mid" in names
    assert "".join(names).isprintable()
    doctor.select("caf\\xe9.mid")
    assert doctor.roll.score.note_num() == tune(bars=6, seed=1).note_num()
