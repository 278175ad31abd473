"""Repeats of notation files are played wherever music is read for training, on request."""

from pathlib import Path
from unittest.mock import Mock

import pytest

from rwkv_music.cli import main
from rwkv_music.data import Store, examine_folder, load_corpus, prepare_store
from rwkv_music.errors import InputError
from rwkv_music.score import load_score
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.training.finetuning.tuning import pieces_from_files

TUNE = "X:1\nM:4/4\nL:1/4\nK:C\n|:CDEF|GABc:|\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "tunes"
    path.mkdir()
    for index, key in enumerate(("C", "D")):
        text = TUNE.replace("K:C", f"K:{key}")
        (path / f"{index}.abc").write_text(text, encoding="utf-8")
    return path


def test_the_doctor_counts_the_bars_that_are_played(folder: Path) -> None:
    written = examine_folder(folder, workers=1).files[0]
    played = examine_folder(folder, unfold_repeats=True, workers=1).files[0]
    assert (written.bars, written.notes, written.has_repeats) == (2, 8, True)
    assert (played.bars, played.notes, played.has_repeats) == (4, 16, False)


def test_the_doctor_of_the_command_line_unfolds_repeats(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", str(folder)]) == 0
    assert "repeats: not unfolded" in capsys.readouterr().out
    assert main(["doctor", str(folder), "--unfold-repeats"]) == 0
    assert "repeats: not unfolded" not in capsys.readouterr().out


def test_a_store_keeps_whether_repeats_were_unfolded(folder: Path, tmp_path: Path) -> None:
    written = prepare_store(folder, tmp_path / "written", workers=1).info
    played = prepare_store(folder, tmp_path / "played", workers=1, unfold_repeats=True).info
    assert not written.unfold_repeats
    assert Store(tmp_path / "played").info.unfold_repeats
    assert sum(played.bars.values()) == 2 * sum(written.bars.values()) == 8
    with pytest.raises(InputError, match="played has unfold_repeats True, this run has False"):
        prepare_store(folder, tmp_path / "played", workers=1)


def test_a_folder_is_trained_on_as_it_is_played(folder: Path) -> None:
    tokenizer = Tokenizer()
    written, played = (load_corpus(folder, tokenizer, unfold_repeats=on) for on in (False, True))
    for corpus, on in ((written, False), (played, True)):
        expected = tokenizer.encode(load_score(folder / "0.abc", unfold_repeats=on))
        assert corpus.pieces[0].ids.tolist() == expected.tolist()
    assert len(played.pieces[0].ids) > len(written.pieces[0].ids)


def test_a_tuning_reads_files_as_they_are_played(folder: Path) -> None:
    tokenizer, path = Tokenizer(), folder / "0.abc"
    for on in (False, True):
        (piece,) = pieces_from_files([path], tokenizer, unfold_repeats=on)
        assert piece.ids.tolist() == tokenizer.encode(load_score(path, unfold_repeats=on)).tolist()


@pytest.mark.parametrize(("flags", "num_notes"), [([], 8), (["--unfold-repeats"], 16)])
def test_play_plays_repeats_on_request(
    flags: list[str], num_notes: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = Mock(is_playing=False)
    monkeypatch.setattr("rwkv_music.playback.sound_player.SoundPlayer", lambda _kind: player)
    assert main(["play", str(folder / "0.abc"), *flags]) == 0
    assert player.play.call_args.args[0].note_num() == num_notes
