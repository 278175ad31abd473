"""`rwkv-music doctor`: table on stdout, progress on stderr, and a partial report after Ctrl-C."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rwkv_music.cli import main
from rwkv_music.data.doctor import folder_report
from rwkv_music.data.doctor.file_report import FileReport, examine_file
from rwkv_music.data.scanning import FoundFile
from rwkv_music.score import save_score
from rwkv_music.tokenizer import Tokenizer
from tests.music import tune


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    for seed in range(3):
        save_score(tune(bars=4, seed=seed), folder / f"{seed}.mid")
    (folder / "broken.mid").write_bytes(b"no music")
    (folder / "words.txt").write_text("none")
    return folder


def test_the_table_the_summary_and_the_files(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, pictures = tmp_path / "out" / "report.json", tmp_path / "pictures"
    arguments = ["doctor", str(folder), "--json", str(report), "--pictures", str(pictures)]
    assert main(arguments) == 0
    output = capsys.readouterr()
    assert "skipped" in output.out
    assert "Can I train on this?\n  Yes, but it is little: 3 different pieces" in output.out
    assert "not examined: 1 .txt" in output.out
    assert "examining" in output.err
    assert "examining" not in output.out
    stored = json.loads(report.read_text(encoding="utf-8"))
    assert [file["name"] for file in stored["files"]] == ["0.mid", "1.mid", "2.mid", "broken.mid"]
    assert len(list(pictures.glob("*.png"))) == 4


def test_the_tokenizer_can_be_chosen_as_it_is_for_training(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score = tune(bars=4)
    score.tracks[0].notes[0].time = 1  # a 96th of a quarter, between two steps of 48
    save_score(score, folder / "fine.mid")
    moved = {}
    for steps in ("48", "96"):
        report = tmp_path / f"{steps}.json"
        asked = ["doctor", str(folder), "--steps-per-quarter", steps, "--json", str(report)]
        assert main(asked) == 0
        files = {file["name"]: file for file in json.loads(report.read_text())["files"]}
        moved[steps] = files["fine.mid"]["onset_max_ms"]
    # At 100 quarters per minute half a step of 48 is 6.25 ms.
    assert moved["48"] == pytest.approx(6.25, abs=0.01)
    assert moved["96"] == pytest.approx(0, abs=0.01)
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main(["doctor", str(folder), "--velocities", "40"])
    assert "--velocities: must be one of 32, 64, 128, got 40" in capsys.readouterr().err


def test_a_folder_that_does_not_exist_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", str(tmp_path / "nowhere")]) == 2
    assert "is not a folder: give a folder of music files" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").touch()
    for option, path, reason in (
        ("--json", tmp_path, "is a folder: give --json a file"),
        ("--json", tmp_path / "taken" / "a.json", "cannot be written"),
        ("--pictures", tmp_path / "taken", "cannot be written"),
    ):
        assert main(["doctor", str(folder), option, str(path)]) == 2
        output = capsys.readouterr()
        assert reason in output.err
        assert "examining" not in output.err
        assert not output.out


def test_ctrl_c_prints_what_is_known_so_far(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(
        root: Path, files: list[FoundFile], **_settings: object
    ) -> Iterator[FileReport]:
        yield examine_file(root / files[0].name, tokenizer=Tokenizer()).with_name("0.mid")
        raise KeyboardInterrupt

    monkeypatch.setattr(folder_report, "examine_files", interrupted)
    assert main(["doctor", str(folder)]) == 130
    output = capsys.readouterr()
    assert "stopped by Ctrl-C; this is what is known so far" in output.err
    assert "0.mid" in output.out
    assert "3 files are not examined because of the interruption." in output.out
