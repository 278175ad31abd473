"""`rwkv-music prepare` and `merge`: what came of it on stdout, progress with an ETA on stderr."""

from pathlib import Path
from typing import Any

import pytest

from rwkv_music.cli import build_parser, main
from rwkv_music.data import Store, load_corpus
from rwkv_music.model import load_model
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.training import StepMetrics, Trainer
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.data_module import DataModule
from rwkv_music.training.run.directory import RunDirectory
from tests.stores import tables_of, write_tunes
from tests.training.curves import curve


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_tunes(tmp_path / "music", 24)
    (folder / "broken.mid").write_bytes(b"no music")
    return folder


def test_shards_are_prepared_and_merged(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, merged = tmp_path / "whole", tmp_path / "merged"
    assert main(["prepare", str(folder), "-o", str(whole), "--workers", "1"]) == 0
    output = capsys.readouterr()
    info = Store(whole).info
    assert output.out.splitlines() == [
        f"{whole}: {info.pieces['train']} pieces and {info.tokens['train']:,} tokens to train on, "
        f"{info.pieces['valid']} pieces and {info.tokens['valid']:,} tokens to hold out",
        "5 of them have the same content as another one",
        f"1 file skipped, listed in {whole / 'skipped.txt'}",
    ]
    assert "preparing: 100%" in output.err
    assert "30/30" in output.err
    stores = [str(tmp_path / f"shard-{shard}") for shard in range(2)]
    for shard, store in enumerate(stores):
        assert main(["prepare", str(folder), "-o", store, "--shard", f"{shard}/2"]) == 0
    assert main(["merge", *stores, "-o", str(merged)]) == 0
    assert "merging: 100%" in capsys.readouterr().err
    assert tables_of(merged) == tables_of(whole)


def test_a_second_run_says_what_was_there_and_what_has_changed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["prepare", str(folder), "-o", str(tmp_path / "store"), "--workers", "1"]
    assert main(arguments) == 0
    (folder / "b" / "1.mid").write_bytes(b"changed")
    assert main(arguments) == 0
    error = capsys.readouterr().err
    assert "30 files already in the store" in error
    assert "changed since it was encoded, kept as it was: b/1.mid" in error


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["prepare", "nowhere", "-o", "store"], "nowhere is not a folder: give a folder of"),
        (
            ["merge", "nowhere", "-o", "store"],
            "nowhere is not a token store, it contains no store.json",
        ),
        (["prepare", ".", "-o", "store"], "contains no file that ends in one of .mid"),
    ],
)
def test_bad_input_gives_one_line(
    arguments: list[str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    (line,) = [row for row in capsys.readouterr().err.splitlines() if "rwkv-music: " in row]
    assert reason in line


def test_a_shard_that_does_not_exist_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["prepare", str(folder), "-o", "store", "--shard", "3/3"])
    error = capsys.readouterr().err
    assert "shard 3/3 does not exist: i counts from 0, so it must be below 3" in error
    assert len(error.splitlines()) == 1


def test_a_store_of_other_settings_is_trained_on_and_not_taken_for_another(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, run = tmp_path / "store", tmp_path / "run"
    finer = ["--steps-per-quarter", "192", "--velocities", "64"]
    assert main(["prepare", str(folder), "-o", str(store), "--workers", "1", *finer]) == 0
    train = ["train", "--store", str(store), "--out", str(run), "--preset", "tiny", "--steps", "2"]
    assert main([*train, "--device", "cpu", "--seed", "1"]) == 0
    settings = load_model(run).tokenizer_settings
    assert settings == {"steps_per_quarter": 192, "velocities": 64, "max_parts": 32}
    store.rename(tmp_path / "finer")
    assert main(["prepare", str(folder), "-o", str(store), "--workers", "1"]) == 0
    assert main(["train", "--resume", "--out", str(run)]) == 0  # it is finished already
    RunDirectory(run).write_status("stopped", step=2, steps=2, device="cpu", session=1)
    capsys.readouterr()
    assert main(["train", "--resume", "--out", str(run)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert (
        "has a tokenizer of steps_per_quarter 96, velocities 32, max_parts 32, the run in" in error
    )
    assert "steps_per_quarter 192, velocities 64, max_parts 32: restore its corpus" in error


def test_a_folder_is_not_taken_for_a_store(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--store", str(folder), "--out", "run"]) == 2
    error = capsys.readouterr().err
    assert "is not a token store: make one with rwkv-music prepare FOLDER -o" in error
    assert len(error.splitlines()) == 1


def test_a_store_is_what_training_reads(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert main(["prepare", str(folder), "-o", str(store), "--workers", "1"]) == 0
    given = build_parser().parse_args(["train", "--store", str(store), "--out", "run"])
    config = TrainingConfig.preset("tiny", corpus=given.store, out=given.out)
    summary = DataModule.from_config(config).summary()
    assert summary["name"] == str(store)
    assert summary["valid_pieces"] == [
        piece.name for piece in Store(store).valid if piece.name not in summary["too_short"]
    ]
    assert list(summary["skipped"]) == ["broken.mid"]
    assert summary["content_sha256"] == load_corpus(store, Tokenizer()).content_hash


@pytest.mark.parametrize("how", [[], ["--carry-state", "--context-length", "40"]])
def test_a_run_on_a_store_is_stopped_and_goes_on_to_the_last_bit(
    how: list[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    assert main(["prepare", str(folder), "-o", str(store), "--workers", "1"]) == 0
    train = ["train", "--store", str(store), "--preset", "tiny", "--steps", "6", "--device", "cpu"]
    settings = ["--evaluate-every", "6", "--dropout", "0.1", *how]
    assert main([*train, *settings, "--out", str(tmp_path / "whole")]) == 0
    real = Trainer.step

    def step(trainer: Trainer, number: int, *given: Any, **named: Any) -> StepMetrics:
        if number == 4:
            RunDirectory(tmp_path / "parts").control.ask("stop")
        return real(trainer, number, *given, **named)

    monkeypatch.setattr(Trainer, "step", step)
    parts = RunDirectory(tmp_path / "parts")
    assert main([*train, *settings, "--out", str(parts.path)]) == 0
    assert (parts.status()["state"], parts.status()["step"]) == ("stopped", 4)
    monkeypatch.undo()
    assert main(["train", "--resume", "--out", str(parts.path)]) == 0
    assert curve(parts) == curve(RunDirectory(tmp_path / "whole"))
    assert load_model(parts.path).metadata["step"] == 6
    if how:
        (scored,) = {line["scored_fraction"] for line in parts.metrics() if "loss_train" in line}
        assert scored == 1


def test_a_handful_of_which_none_is_held_out_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    music = write_tunes(tmp_path / "music", 2)
    arguments = ["--valid-fraction", "0.000001", "--workers", "1"]
    assert main(["prepare", str(music), "-o", str(tmp_path / "store"), *arguments]) == 0
    output = capsys.readouterr().out.splitlines()
    assert output[1] == "too few pieces to hold one out: training will choose one; add more files"
