"""Evaluation of models on sets: what is measured on which bars, and what the report says."""

import json
from pathlib import Path

import pytest
import symusic

from rwkv_music.cli import main
from rwkv_music.data import prepare_store
from rwkv_music.errors import InputError
from rwkv_music.evaluation.comparison.evaluation_page import CANDIDATES, CandidatePage
from rwkv_music.evaluation.comparison.evaluation_sets import evaluation_sets, windows_of
from rwkv_music.evaluation.comparison.evaluation_settings import EvaluationSettings
from rwkv_music.evaluation.comparison.evaluation_tables import evaluation_tables
from rwkv_music.evaluation.comparison.model_evaluation import evaluate_models
from rwkv_music.model import RWKV7, ModelConfig, MusicModel, initialize, load_model
from rwkv_music.score import save_score
from rwkv_music.tokenizer import Tokenizer
from tests.music import tune

TOKENIZER = Tokenizer()


def new_model(seed: int, tokenizer: Tokenizer = TOKENIZER) -> MusicModel:
    network = RWKV7(ModelConfig(vocab_size=tokenizer.vocab_size, num_layers=1, dim=64))
    initialize(network, seed=seed)
    return MusicModel(network, tokenizer.settings)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    for seed in range(4):
        save_score(tune(bars=14, seed=seed), folder / "songs" / f"{seed}.mid")
        save_score(tune(bars=6, seed=9 + seed), folder / "short" / f"{seed}.mid")
    return folder


def test_each_subfolder_of_music_is_a_set(music: Path) -> None:
    sets = evaluation_sets([music], TOKENIZER)
    assert [(music_set.name, len(music_set.pieces)) for music_set in sets] == [
        ("short", 4),
        ("songs", 4),
    ]
    assert [
        evaluation_set.name for evaluation_set in evaluation_sets([music / "songs"], TOKENIZER)
    ] == ["songs"]


def test_of_a_store_the_held_out_pieces_are_used(music: Path, tmp_path: Path) -> None:
    prepare_store(music / "songs", tmp_path / "stores" / "a store")
    prepare_store(music / "short", tmp_path / "stores" / "b")
    sets = evaluation_sets([tmp_path / "stores"], TOKENIZER)
    assert [music_set.name for music_set in sets] == ["a store", "b"]
    assert all(len(music_set.pieces) < 4 for music_set in sets)
    [alone] = evaluation_sets([music / "songs"], TOKENIZER, held_out_only=True)
    assert 0 < len(alone.pieces) < 4


def test_a_folder_without_music_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="contains no music"):
        evaluation_sets([tmp_path], TOKENIZER)


def test_windows_have_four_bars_before_up_to_eight(music: Path) -> None:
    short, songs = evaluation_sets([music], TOKENIZER)
    assert [window.num_bars for window in windows_of(short, "as stored", TOKENIZER, most=9)] == [
        2
    ] * 4
    assert windows_of(short, "as stored", TOKENIZER, most=9, full=True) == []
    windows = windows_of(songs, "as stored", TOKENIZER, most=9)
    assert sorted(window.num_bars for window in windows) == [2] * 4 + [8] * 4
    for window in windows:
        example = window.example
        assert TOKENIZER.num_bars(example.ids[: example.completion_start]) == 4
    assert len(windows_of(songs, "as stored", TOKENIZER, most=3)) == 3


def test_windows_off_the_bars_are_those_of_the_piece_moved_behind_them(tmp_path: Path) -> None:
    score = tune(bars=13)
    score.time_signatures.append(symusic.TimeSignature(12 * 4 * 96, 3, 4))
    save_score(score, tmp_path / "a.mid")
    [songs] = evaluation_sets([tmp_path], TOKENIZER)
    [stored] = windows_of(songs, "as stored", TOKENIZER, most=1, full=True)
    [moved] = windows_of(songs, "off the bars", TOKENIZER, most=1, full=True)
    ids = moved.example.ids
    assert TOKENIZER.num_bars(ids[: moved.example.completion_start]) == 4
    onsets = [
        sorted(note.time for track in TOKENIZER.decode(stream).tracks for note in track.notes)
        for stream in (stored.example.ids, ids)
    ]
    assert [time - 132 for time in onsets[1]] == onsets[0][: len(onsets[1])]


def test_models_are_compared_on_the_same_windows(music: Path) -> None:
    sets = evaluation_sets([music], TOKENIZER)
    models = {"one": load_model("pop"), "other": load_model("bach")}
    page = CandidatePage()
    settings = EvaluationSettings(windows=4, continuations=2)
    results = evaluate_models(models, sets, settings=settings, on_candidate=page.add)
    assert list(results) == ["short", "songs"]
    assert list(results["songs"]["likelihood"]) == [
        "as stored", "one piano", "no melody", "reordered", "off the bars",
    ]  # fmt: skip
    stored = results["songs"]["likelihood"]["as stored"]["models"]
    assert stored["one"]["notes"] == stored["other"]["notes"]
    assert stored["one"]["nats_per_note"] != stored["other"]["nats_per_note"]
    assert results["short"]["continuations"] == {}
    rows = results["songs"]["continuations"]["as stored"]
    assert list(rows) == ["truth", "random", "one", "other"]
    assert rows["truth"]["silence"]["number"] == rows["one"]["silence"]["number"] == 2
    tables = evaluation_tables(results)
    assert "| songs | reordered | 4 |" in tables
    assert "## songs, one piano: 2 continuations" in tables
    assert len(page.chosen()) == 2 * 2 * 2 <= 2 * CANDIDATES


def test_models_with_different_tokenizers_are_refused(music: Path) -> None:
    models = {"one": new_model(1), "fine": new_model(1, Tokenizer(steps_per_quarter=48))}
    with pytest.raises(InputError, match="one and fine have different tokenizers"):
        evaluate_models(models, evaluation_sets([music], TOKENIZER))


def test_music_that_is_too_short_is_refused(tmp_path: Path) -> None:
    save_score(tune(bars=3), tmp_path / "a.mid")
    with pytest.raises(InputError, match="no piece is longer than 4 bars"):
        evaluate_models({"one": new_model(1)}, evaluation_sets([tmp_path], TOKENIZER))


def test_the_command_writes_report_table_and_page(
    music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["evaluate", str(music / "songs"), "--model", "pop"]
    settings = ["--windows", "2", "--continuations", "1", "--train", str(music / "songs")]
    assert main([*arguments, *settings, "-o", str(out)]) == 0
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["options"]["windows"] == 2
    rows = report["sets"]["songs"]["continuations"]["as stored"]
    assert rows["truth"]["longest_copied_run"]["mean"] > 5, "training pieces are among the songs"
    assert (out / "report.md").read_text(encoding="utf-8") in capsys.readouterr().out
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("<audio") == 2
    assert (out / "candidate-02.png").exists()


def test_the_last_bars_of_long_continuations_stand_beside_the_first(tmp_path: Path) -> None:
    """The real piece becomes sparse after twelve bars; the figures of its halves show that."""
    score = tune(bars=20)
    for track in score.tracks:
        track.notes = [n for n in track.notes if n.time < 12 * 4 * 96 or n.time % (4 * 96) == 0]
    score.tracks[0].notes.append(symusic.Note(20 * 4 * 96 - 96, 96, 60, 80))
    save_score(score, tmp_path / "a.mid")
    settings = EvaluationSettings(windows=1, continuations=0, long_bars=16)
    sets = evaluation_sets([tmp_path], TOKENIZER)
    results = evaluate_models({"pop": load_model("pop")}, sets, settings=settings)
    first, last = (next(iter(results.values()))["long"][half] for half in ("first", "last"))
    assert list(first) == list(last) == ["truth", "pop"]
    assert last["truth"]["notes_per_bar"]["mean"] < 2.5
    assert first["truth"]["notes_per_bar"]["mean"] > 4
    assert "long continuations: last eight bars" in evaluation_tables(results)


def test_sizes_out_of_range_are_refused() -> None:
    for settings in ({"windows": 0}, {"continuations": -1}, {"long_bars": 9}):
        with pytest.raises(InputError, match=f"`{next(iter(settings))}` must be "):
            EvaluationSettings(**settings)
