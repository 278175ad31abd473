"""`rwkv-music train`: settings, skipped pieces, and what resuming accepts."""

import json
from pathlib import Path

import pytest

from rwkv_music.cli import main
from rwkv_music.score import save_score
from rwkv_music.training.config import training_settings
from rwkv_music.training.run.directory import RunDirectory
from tests.cli.conftest import ExitCode
from tests.music import tune


def test_skipped_pieces_are_recorded(trained: Path) -> None:
    corpus = json.loads((trained / "config.json").read_text())["corpus"]
    assert corpus["too_short"] == ["short.mid"]
    assert list(corpus["skipped"]) == ["broken.mid"]


def test_the_first_ten_skipped_pieces_are_listed_and_the_rest_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        save_score(tune(bars=4, seed=seed), tmp_path / "tunes" / f"{seed}.mid")
    for index in range(12):
        (tmp_path / "tunes" / f"broken-{index:02}.mid").write_bytes(b"MThd nothing more")
    store, out = tmp_path / "store", tmp_path / "run"
    assert main(["prepare", str(tmp_path / "tunes"), "-o", str(store)]) == 0
    capsys.readouterr()
    arguments = ["--preset", "tiny", "--steps", "2"]
    assert main(["train", "--store", str(store), "--out", str(out), *arguments]) == 0
    lines = capsys.readouterr().err.splitlines()
    skipped = [line for line in lines if line.startswith("skipped: broken")]
    assert [line.split(":")[1] for line in skipped] == [f" broken-{n:02}.mid" for n in range(10)]
    assert f"and 2 more pieces, see {out / 'config.json'}" in lines
    corpus = json.loads((out / "config.json").read_text())["corpus"]
    assert len(corpus["skipped"]) == 12


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
        (["--steps", "9"], "was started with --steps 3, not --steps 9: leave that setting out"),
        (["--preset", "tiny"], "was started with --steps 3, not --steps 40"),
        (["--preset", "1m", "--steps", "3"], "was started with --num-layers 2, not"),
        (["--seed", "5"], "was started with --seed 0, not --seed 5"),
        (["--carry-state"], "was started with --no-carry-state, not --carry-state"),
    ],
)
def test_a_resumed_run_refuses_a_different_setting_and_names_both_values(
    arguments: list[str], message: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "1m" in arguments:
        message = "was started with"
    assert main(["train", "--out", str(trained), "--resume", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_resumed_run_accepts_settings_equal_to_its_own(trained: Path) -> None:
    corpus = str(trained.parent / "tunes")
    own = ["--corpus", corpus, "--preset", "tiny", "--steps", "3", "--batch-size", "4"]
    assert main(["train", "--out", str(trained), "--resume", *own]) == 0
    device = ["--device", "cpu", "--logger", "none"]  # where to compute may differ
    assert main(["train", "--out", str(trained), "--resume", *device]) == 0


def test_without_music_there_is_nothing_to_train_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--out", str(tmp_path / "run"), "--resume"]) == 2
    assert "no music to train on: give --corpus bach" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size", "0"], "argument --batch-size: must be at least 1, got 0"),
        (["--dropout", "1"], "argument --dropout: must be in [0, 1), got 1.0"),
        (["--steps", "many"], "argument --steps: must be a whole number, got 'many'"),
        (["--learning-rate", "nan"], "argument --learning-rate: must be above 0, got nan"),
        (["--dim", "100"], "argument --dim: must be at least 1 and a multiple of 64, got 100"),
        (["--schedule", "linear"], "must be one of 'cosine', 'wsd', got 'linear'"),
        (["--warmup-steps", "9", "--steps", "5"], "--warmup-steps must be in [0, steps), got 9"),
        (["--drop-parts", "0.1", "--no-augmentation"], "set --drop-parts 0.0 or --augmentation"),
    ],
)
def test_a_setting_out_of_range_is_refused_in_one_line(
    arguments: list[str],
    message: str,
    exit_code: ExitCode,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    assert exit_code(["train", "--corpus", "bach", "--out", str(out), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_every_setting_is_an_option_with_help(
    exit_code: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["train", "--help"]) == 0
    text = capsys.readouterr().out
    for name in training_settings():
        assert f"--{name.replace('_', '-')}" in text
    assert "`" not in text


def test_flags_of_earlier_versions_still_work(tmp_path: Path) -> None:
    for seed in range(6):
        save_score(tune(bars=4, seed=seed), tmp_path / "tunes" / f"{seed}.mid")
    out = tmp_path / "run"
    arguments = ["train", "--corpus", str(tmp_path / "tunes"), "--out", str(out)]
    old = ["--accumulation", "2", "--checkpointing", "--early-stop=3", "--track", "none"]
    assert main([*arguments, "--preset", "tiny", "--steps", "1", *old]) == 0
    config = RunDirectory(out).config()["config"]
    assert config["optimizer"]["gradient_accumulation_steps"] == 2
    assert config["hardware"]["activation_checkpointing"] is True
    assert (config["run"]["early_stopping_patience"], config["run"]["logger"]) == (3, "none")
