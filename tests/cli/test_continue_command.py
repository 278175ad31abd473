"""`rwkv-music continue`: candidates, their report, and what is refused or kept."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rwkv_music.score
from rwkv_music.cli import main
from rwkv_music.score import load_score, num_bars


def test_continue_writes_music_pictures_and_a_report(
    trained: Path, prompt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["continue", str(prompt), "--bars", "2", "--candidates", "2", "--seed", "7"]
    assert main([*arguments, "--model", str(trained), "--pictures", "-o", str(out)]) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {
        "prompt-1.mid", "prompt-1.png", "prompt-2.mid", "prompt-2.png", "report.json",
    }  # fmt: skip
    report = json.loads((out / "report.json").read_text())
    assert [row["file"] for row in report["candidates"]] == ["prompt-1.mid", "prompt-2.mid"]
    assert report["settings"]["seed"] == 7
    assert num_bars(load_score(out / "prompt-1.mid")) in {2, 3, 4}
    assert "prompt-1.mid" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--bars", "0"], "argument --bars: must be at least 1, got 0"),
        (["--candidates", "x"], "argument --candidates: must be a whole number, got 'x'"),
        (["--top-p", "1.5"], "argument --top-p: must be in (0, 1], got 1.5"),
        (["--temperature", "-1"], "argument --temperature: must be at least 0, got -1.0"),
    ],
)
def test_an_argument_out_of_range_is_refused_in_one_line(
    change: list[str], message: str, prompt: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["continue", str(prompt), "-o", "out", *change])
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "file not found"),
        (b"", "empty"),
        (b"garbage that is no MIDI", "not a MIDI file"),
        (
            b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\xe0\x28MTrk\x00\x00\x00\x04\x00\xff\x2f\x00",
            "SMPTE",
        ),
        (
            b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x01\xe0MTrk\x00\x00\x00\x04\x00\xff\x2f\x00",
            "no notes",
        ),
    ],
)
def test_a_bad_prompt_is_refused_in_one_line_and_leaves_nothing(
    content: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.mid"
    if content is not None:
        bad.write_bytes(content)
    assert main(["continue", str(bad), "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "bad.mid" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused(
    prompt: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["continue", str(prompt), "--model", str(trained), "-o", str(prompt)]) == 2
    assert (
        "prompt.mid cannot be written (File exists): choose another path" in capsys.readouterr().err
    )
    assert load_score(prompt).note_num() > 0


def test_an_unknown_model_is_refused_with_the_known_ones(
    prompt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["continue", str(prompt), "--model", "mozart", "-o", str(tmp_path / "out")])
    assert code == 2
    error = capsys.readouterr().err
    assert "mozart" in error
    assert "bach" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("failing", "kept"), [("3.mid", 2), ("1.mid", 0), ("2.png", 3)])
def test_a_full_disk_keeps_the_candidates_that_are_written(
    failing: str,
    kept: int,
    prompt: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing_save(name: str) -> None:
        real = getattr(rwkv_music.score, name)

        def save(score: object, path: Path, **settings: object) -> object:
            if path.name.endswith(failing):
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return real(score, path, **settings)

        monkeypatch.setattr(rwkv_music.score, name, save)

    failing_save("save_score")
    failing_save("save_piano_roll")
    out = tmp_path / "out"
    assert (
        main(
            [
                "continue",
                str(prompt),
                "--bars",
                "1",
                "--candidates",
                "3",
                "--pictures",
                "-o",
                str(out),
            ]
        )
        == 2
    )
    error = capsys.readouterr().err
    assert f"free some space or choose another path; {kept} of 3 candidates are" in error
    assert "Traceback" not in error
    assert len(list(out.glob("*.mid"))) == kept
    assert out.exists() == bool(kept)
    assert (out / "report.json").exists() == (kept == 3)
    for path in out.glob("*.mid"):
        assert load_score(path).note_num() > 0


def test_the_constraints_that_were_typed_hold(prompt: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["continue", str(prompt), "--bars", "1", "--candidates", "1", "-o", str(out)]
    limits = ["--scale", "C major", "--pitch-range", "0", "C4", "84", "--max-polyphony", "1"]
    assert main([*arguments, *limits]) == 0
    start = load_score(prompt).end()
    notes = load_score(out / f"{prompt.stem}-1.mid").tracks[0].notes
    new = [note for note in notes if note.time >= start]
    assert new
    assert all(60 <= note.pitch <= 84 and note.pitch % 12 in {0, 2, 4, 5, 7, 9, 11} for note in new)
    assert not (out / f"{prompt.stem}-1.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--scale", "H major"], "'H major' is no scale"),
        (["--pitch-range", "Kazoo", "C4", "C5"], "there is no part 'Kazoo'"),
        (["--prompt-bars", "5", "900"], "--prompt-bars are 5 to 900, but the prompt has the bars"),
    ],
)
def test_a_bad_request_is_refused_in_one_line(
    change: list[str],
    message: str,
    prompt: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["continue", str(prompt), "-o", str(tmp_path / "out"), *change]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_ctrl_c_keeps_the_bars_that_are_complete(
    prompt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rwkv_music.generation import BarEnd, Stream

    real = Stream.__next__

    def interrupted(events: Stream) -> object:
        event = real(events)
        if isinstance(event, BarEnd) and event.bars == 2:
            raise KeyboardInterrupt
        return event

    monkeypatch.setattr(Stream, "__next__", interrupted)
    out = tmp_path / "out"
    arguments = ["continue", str(prompt), "--bars", "50", "--candidates", "1", "-o", str(out)]
    assert main(arguments) == 130
    [row] = json.loads((out / "report.json").read_text())["candidates"]
    assert row["bars"] == 2
    assert (out / row["file"]).exists()


def test_more_versions_are_drawn_than_are_written(
    prompt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["continue", str(prompt), "--bars", "1", "--candidates", "2", "-o", str(out)]
    assert main([*arguments, "--draw", "5"]) == 0
    report = json.loads((out / "report.json").read_text())
    assert len(report["candidates"]) == 2
    assert report["settings"]["draw"] == 5
    assert "drew 5 versions, discarded" in capsys.readouterr().err
    assert main([*arguments, "--draw", "1"]) == 2
    assert "--draw must be at least 2, got 1" in capsys.readouterr().err


def test_continuing_without_pictures_loads_neither_a_compiler_nor_matplotlib(
    prompt: Path, tmp_path: Path
) -> None:
    code = (
        "import sys; from rwkv_music.cli import main; "
        f"assert main(['continue', {str(prompt)!r}, '--bars', '1', '-o', 'out']) == 0; "
        "heavy = {'torch._dynamo', 'sympy', 'triton', 'matplotlib', 'music21'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
