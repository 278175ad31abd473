"""`rwkv-music tune`: styles and tuned models from a few files."""

import json
import sys
from pathlib import Path

import pytest

from rwkv_music.cli import main
from rwkv_music.evaluation import HeldOut
from rwkv_music.training.finetuning import tuning
from tests.cli.conftest import ExitCode


def test_a_style_is_tuned_measured_and_used(
    trained: Path,
    prompt: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tunes = trained.parent / "tunes"
    style, out = tmp_path / "my.style", tmp_path / "out"
    arguments = ["tune", "--model", str(trained), "--files", str(tunes / "1.mid"), "--steps", "2"]
    read: list[list[str]] = []
    real = tuning.tuning_windows
    monkeypatch.setattr(
        tuning,
        "tuning_windows",
        lambda model, paths, config: read.append(paths) or real(model, paths, config),
    )
    assert main([*arguments, "--held-out", str(tunes / "2.mid"), "-o", str(style)]) == 0
    assert read == [[str(tunes / "1.mid")], [str(tunes / "2.mid")]]  # each once
    assert "held-out files: " in capsys.readouterr().out
    arguments = ["continue", str(prompt), "--bars", "1", "--candidates", "1", "-o", str(out)]
    arguments += ["--model", str(trained), "--style", str(style), str(style)]
    assert main([*arguments, "--style-weight", "1", "0.5"]) == 0
    settings = json.loads((out / "report.json").read_text())["settings"]
    assert settings["style"] == [str(style), str(style)]
    assert settings["style_weight"] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--rank", "4"], "--rank 4 is for --method lora, not for state: leave it out"),
        (["--rank", "4", "--method", "full"], "--rank 4 is for --method lora, not for full"),
        (["--method", "full", "-o", "tuned.pth"], "-o tuned.pth: --method full makes a whole mod"),
        (["--method", "lora", "-o", "tuned.pth"], "safetensors: name it tuned.safetensors\n"),
        (["--learning-rate", "inf"], "argument --learning-rate: must be above 0, got inf"),
        (["--learning-rate", "nan"], "argument --learning-rate: must be above 0, got nan"),
    ],
)
def test_a_tuning_that_contradicts_itself_is_refused_in_one_line(
    change: list[str], message: str, exit_code: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["tune", "--files", "nowhere.mid", "-o", "my.style", *change]
    assert exit_code(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("output", [".", "prompt.mid/my.style"])
def test_an_output_that_cannot_be_written_is_refused_before_the_tuning(
    output: str,
    trained: Path,
    prompt: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(HeldOut, "likelihood", lambda *_, **__: pytest.fail("it measures"))
    files = [str(trained.parent / "tunes" / f"{seed}.mid") for seed in (1, 2)]
    arguments = ["tune", "--model", str(trained), "--files", files[0], "--held-out", files[1]]
    assert main([*arguments, "-o", str(prompt.parent / output)]) == 2
    error = capsys.readouterr().err
    assert "is a folder: give -o a file" in error or "cannot be written (" in error
    assert error.count("\n") == 1


def test_a_missing_peft_is_reported_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    assert main(["tune", "--files", "nowhere.mid", "--method", "lora", "-o", "m.safetensors"]) == 2
    assert "tuning with LoRA needs peft, which is not installed" in capsys.readouterr().err


def test_a_style_that_does_not_fit_is_refused_in_one_line(
    trained: Path, prompt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    style = tmp_path / "my.style"
    tune_arguments = ["--files", str(trained.parent / "tunes" / "1.mid"), "--steps", "1"]
    assert main(["tune", "--model", str(trained), *tune_arguments, "-o", str(style)]) == 0
    capsys.readouterr()
    arguments = ["continue", str(prompt), "--model", "bach", "-o", str(tmp_path / "out")]
    assert main([*arguments, "--style", str(style)]) == 2
    error = capsys.readouterr().err
    assert "it was tuned for another model" in error
    assert error.count("\n") == 1
