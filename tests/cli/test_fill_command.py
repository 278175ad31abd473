"""`rwkv-music fill`: what it writes, and requests that cannot be met."""

import json
from pathlib import Path

import pytest

from rwkv_music.cli import main
from rwkv_music.generation import BarEnd, Stream
from rwkv_music.model import load_model, save_checkpoint
from rwkv_music.score import load_score


@pytest.fixture
def filler(trained: Path, tmp_path: Path) -> Path:
    """The trained model, as if its training had known holes."""
    model = load_model(trained)
    model.metadata = {"step": 1, "run": {"data": {"hole_fraction": 0.5}}}
    return save_checkpoint(model, tmp_path / "filler.safetensors")


def test_fill_writes_the_versions_pictures_and_a_report(
    filler: Path, prompt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["fill", str(prompt), "--bars", "2", "--candidates", "2", "--seed", "7"]
    arguments += ["--pictures", "--scale", "C major"]
    assert main([*arguments, "--model", str(filler), "-o", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        "prompt-1.mid", "prompt-1.png", "prompt-2.mid", "prompt-2.png", "report.json",
    }  # fmt: skip
    report = json.loads((out / "report.json").read_text())
    assert report["settings"]["bars"] == [2, 2]
    assert [row["seed"] for row in report["candidates"]] == [7, 8]
    before, after = load_score(prompt), load_score(out / "prompt-1.mid")
    assert len(after.tracks) >= len(before.tracks)
    assert "prompt-1.mid" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--bars", "9-12"], "bars 9 to 12 are not in this score of"),
        (["--bars", "two"], "must be the first and last bar, such as 5-8, got 'two'"),
        (["--bars", "1", "--parts", "Kazoo"], "'Kazoo' is not in the score"),
        (["--bars", "1", "--density", "9"], "density must be 0 to 7, got 9"),
        (["--bars", "1", "--scale", "H major"], "'H major' is no scale"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_in_one_line(
    change: list[str],
    message: str,
    filler: Path,
    prompt: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["fill", str(prompt), "--model", str(filler), "-o", str(tmp_path / "out")]
    try:
        code = main([*arguments, *change])
    except SystemExit as left:
        code = int(left.code or 0)
    assert code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_ctrl_c_keeps_the_complete_bars_of_a_fill(
    filler: Path, prompt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Stream.__next__

    def interrupted(events: Stream) -> object:
        event = real(events)
        if isinstance(event, BarEnd):
            raise KeyboardInterrupt
        return event

    monkeypatch.setattr(Stream, "__next__", interrupted)
    out = tmp_path / "out"
    arguments = ["fill", str(prompt), "--bars", "1-2", "--parts", "cello", "--candidates", "1"]
    assert main([*arguments, "--model", str(filler), "-o", str(out)]) == 130
    [row] = json.loads((out / "report.json").read_text())["candidates"]
    assert row["bars"] == 1
    assert (out / row["file"]).exists()


def test_a_part_can_be_continued_alone(filler: Path, prompt: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["continue", str(prompt), "--bars", "2", "--parts", "cello", "--candidates", "1"]
    assert main([*arguments, "--model", str(filler), "-o", str(out)]) == 0
    before, after = load_score(prompt), load_score(out / "prompt-1.mid")
    assert after.note_num() > before.note_num()
    assert after.tracks[-1].program == 42


def test_a_model_that_was_trained_without_holes_is_refused(
    trained: Path, prompt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["fill", str(prompt), "--bars", "1", "--model", str(trained)]
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 2
    assert "this model can only continue music" in capsys.readouterr().err


@pytest.mark.parametrize(("flags", "num_bars"), [([], 2), (["--unfold-repeats"], 4)])
def test_bars_are_counted_as_they_are_played_on_request(
    flags: list[str],
    num_bars: int,
    filler: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    piece = tmp_path / "piece.abc"
    piece.write_text("X:1\nM:4/4\nL:1/4\nK:C\n|:CDEF|GABc:|\n")
    arguments = ["fill", str(piece), "--bars", "9", "--model", str(filler), *flags]
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 2
    assert f"not in this score of {num_bars} bars" in capsys.readouterr().err
