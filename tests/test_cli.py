"""The command line: what it does, and one line for what it cannot use."""

import json
import sys
from pathlib import Path

import pytest

from rwkv_music.cli import main
from rwkv_music.evaluation import HeldOut
from rwkv_music.score import load_score, num_bars, save_score
from rwkv_music.training.finetuning import tuning
from tests.music import tune


@pytest.fixture
def prompt(tmp_path: Path) -> Path:
    return save_score(tune(bars=2), tmp_path / "prompt.mid")


def code_of(arguments: list[str]) -> int | str | None:
    """The exit code, also when the parser of arguments leaves."""
    try:
        return main(arguments)
    except SystemExit as left:
        return left.code


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps, made by the command itself."""
    place = tmp_path_factory.mktemp("cli")
    for seed in range(6):
        save_score(tune(bars=4, seed=seed), place / "tunes" / f"{seed}.mid")
    save_score(tune(bars=1), place / "tunes" / "short.mid")
    (place / "tunes" / "broken.mid").write_bytes(b"MThd nothing more")
    out = place / "run"
    arguments = ["train", "--corpus", str(place / "tunes"), "--out", str(out)]
    assert main([*arguments, "--preset", "tiny", "--steps", "3"]) == 0
    return out


def test_train_names_what_it_left_out(trained: Path) -> None:
    corpus = json.loads((trained / "config.json").read_text())["corpus"]
    assert corpus["too_short"] == ["short.mid"]
    assert list(corpus["set_aside"]) == ["broken.mid"]


def test_train_names_the_first_pieces_it_left_out_and_counts_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        save_score(tune(bars=4, seed=seed), tmp_path / "tunes" / f"{seed}.mid")
    for number in range(12):
        (tmp_path / "tunes" / f"broken-{number:02}.mid").write_bytes(b"MThd nothing more")
    store, out = tmp_path / "store", tmp_path / "run"
    assert main(["prepare", str(tmp_path / "tunes"), "-o", str(store)]) == 0
    capsys.readouterr()
    arguments = ["--preset", "tiny", "--steps", "2"]
    assert main(["train", "--store", str(store), "--out", str(out), *arguments]) == 0
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if line.startswith("set aside")]
    assert [line.split(":")[1] for line in told] == [f" broken-{n:02}.mid" for n in range(10)]
    assert f"and 2 pieces more, see {out / 'config.json'}" in lines
    corpus = json.loads((out / "config.json").read_text())["corpus"]
    assert len(corpus["set_aside"]) == 12


def test_continue_writes_music_pictures_and_a_report(
    trained: Path, prompt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["continue", str(prompt), "--bars", "2", "--candidates", "2", "--seed", "7"]
    assert main([*arguments, "--model", str(trained), "-o", str(out)]) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {
        "prompt-1.mid", "prompt-1.png", "prompt-2.mid", "prompt-2.png", "report.json",
    }  # fmt: skip
    report = json.loads((out / "report.json").read_text())
    assert [row["file"] for row in report["candidates"]] == ["prompt-1.mid", "prompt-2.mid"]
    assert report["settings"]["seed"] == 7
    assert num_bars(load_score(out / "prompt-1.mid")) in {2, 3, 4}
    assert "prompt-1.mid" in capsys.readouterr().out


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
    assert main([*arguments, "--withheld", str(tunes / "2.mid"), "-o", str(style)]) == 0
    assert read == [[str(tunes / "1.mid")], [str(tunes / "2.mid")]]  # each once
    assert "withheld files: " in capsys.readouterr().out
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
        (["--learning-rate", "inf"], "argument --learning-rate: 'inf' is not a number"),
        (["--learning-rate", "nan"], "argument --learning-rate: 'nan' is not a number"),
    ],
)
def test_a_tuning_that_contradicts_itself_is_refused_in_one_line(
    change: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["tune", "--files", "nowhere.mid", "-o", "my.style", *change]
    assert code_of(arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("output", [".", "prompt.mid/my.style"])
def test_a_style_that_cannot_be_written_is_known_before_the_tuning(
    output: str,
    trained: Path,
    prompt: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(HeldOut, "likelihood", lambda *_, **__: pytest.fail("it measures"))
    files = [str(trained.parent / "tunes" / f"{seed}.mid") for seed in (1, 2)]
    arguments = ["tune", "--model", str(trained), "--files", files[0], "--withheld", files[1]]
    assert main([*arguments, "-o", str(prompt.parent / output)]) == 2
    said = capsys.readouterr().err
    assert "is a folder: give -o a file" in said or "cannot be written (" in said
    assert said.count("\n") == 1


def test_a_missing_peft_is_told_before_anything_is_read(
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
    said = capsys.readouterr().err
    assert "it was tuned for another model" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--bars", "0"], "argument --bars: 0 is too small; give at least 1"),
        (["--candidates", "x"], "argument --candidates: 'x' is not a whole number"),
        (
            ["--top-p", "1.5"],
            "argument --top-p: 1.5 is out of range; give one above 0 and at most 1",
        ),
        (["--temperature", "-1"], "argument --temperature: -1 is out of range"),
    ],
)
def test_an_argument_out_of_range_is_refused_in_one_line(
    change: list[str], message: str, prompt: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["continue", str(prompt), "-o", "out", *change])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "file not found"),
        (b"", "empty"),
        (b"garbage that is no MIDI", "not a MIDI file"),
        (
            b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\xe7\x28MTrk\x00\x00\x00\x04\x00\xff\x2f\x00",
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
    said = capsys.readouterr().err
    assert message in said
    assert "bad.mid" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused(
    prompt: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["continue", str(prompt), "--model", str(trained), "-o", str(prompt)]) == 2
    assert (
        "prompt.mid cannot be written (File exists): choose another place"
        in capsys.readouterr().err
    )
    assert load_score(prompt).note_num() > 0


def test_an_unknown_model_is_refused_with_the_known_ones(
    prompt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["continue", str(prompt), "--model", "mozart", "-o", str(tmp_path / "out")])
    assert code == 2
    said = capsys.readouterr().err
    assert "mozart" in said
    assert "bach" in said
    assert not (tmp_path / "out").exists()


def test_a_taken_run_directory_is_refused(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--corpus", "bach", "--out", str(trained)]) == 2
    assert "holds a run already" in capsys.readouterr().err


def test_a_finished_run_has_nothing_to_resume(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained / "metrics.jsonl").read_bytes()
    assert main(["train", "--out", str(trained), "--resume"]) == 0
    assert "is finished already: nothing to do" in capsys.readouterr().err
    assert (trained / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--resume", "--steps", "9"],
            "was started with --steps 3, not --steps 9: leave that setting out",
        ),
        (["--resume", "--preset", "tiny"], "was started with --steps 3, not --steps 40"),
        (["--resume", "--seed", "5"], "was started with --seed 0, not --seed 5"),
    ],
)
def test_a_run_goes_on_with_its_own_settings_alone(
    arguments: list[str], message: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--out", str(trained), *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_without_music_there_is_nothing_to_train_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--out", str(tmp_path / "run"), "--resume"]) == 2
    assert "nothing to train on: give --corpus bach" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_version_tells_where_things_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version", "--verbose"]) == 0
    said = capsys.readouterr().out
    assert "rwkv-music 0.1.0" in said
    assert "cache folder:" in said
    assert "chunked" in said
    assert "tokenizer loops: n" in said
