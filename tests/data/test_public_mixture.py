"""The script that prepares the public mixture, and the table of its sets in a model card."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.model_card import sets_table
from rwkv_music.data import load_corpus, split_corpus
from rwkv_music.data.corpora.about import read_about
from rwkv_music.data.corpora.mixture import Mixture
from rwkv_music.data.corpora.set_summaries import set_summaries
from rwkv_music.score import save_score
from rwkv_music.tokenizer import Tokenizer
from tests.music import tune

TOOL = Path(__file__).resolve().parents[2] / "tools" / "prepare_public_mixture.py"
MOVEMENTS = ("d-b--ms-1--001-001_a--mass-kyrie.mid", "d-b--ms-1--001-002_a--mass-gloria.mid")
PIECE = "d-b--ms-1--002_a--song.mid"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare_public_mixture", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["prepare_public_mixture"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_set_may_be_trained_on_and_shipped(tool: ModuleType) -> None:
    names = [music_set.name for music_set in tool.SETS]
    assert len(set(names)) == len(names) == 8
    for public in tool.SETS:
        assert public.licence.startswith(tool.ALLOWED)
        assert public.attribution
        assert public.url.startswith("https://")


def test_stores_say_where_their_music_is_from(
    tool: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sets = [music_set for music_set in tool.SETS if music_set.name in {"lieder", "polish"}]
    monkeypatch.setattr(tool, "SETS", sets)
    songs, scores = tmp_path / "data" / "openscore_lieder", tmp_path / "data" / "polish_scores"
    for seed, name in enumerate((*MOVEMENTS, PIECE)):
        save_score(tune(bars=8, seed=seed), scores / name)
    for seed in range(3):
        save_score(tune(bars=8, seed=10 + seed), songs / f"{seed}.mid")
    rows = ["file,composer,song", "0.mid,A,Spring", "1.mid,A,Spring", "2.mid,B,Spring"]
    (songs / "index.csv").write_text("\n".join(rows), encoding="utf-8")
    out = tmp_path / "stores"
    monkeypatch.setattr(
        sys, "argv", ["prepare", str(tmp_path / "data"), str(out), "--workers", "1"]
    )
    tool.main()
    *table, _, setting = capsys.readouterr().out.splitlines()
    assert "| CC0 1.0 | 3 | " in table[2]
    assert setting == f"{out / 'lieder'}=2 {out / 'polish'}=3"

    assert read_about(out / "polish").works == dict.fromkeys(MOVEMENTS, "d-b--ms-1--001")
    assert read_about(out / "lieder").works == {
        "0.mid": "A: Spring", "1.mid": "A: Spring", "2.mid": "B: Spring",
    }  # fmt: skip
    corpus = load_corpus(setting)
    assert isinstance(corpus, Mixture)
    train, valid = split_corpus(corpus)
    summaries = set_summaries(corpus, train, valid, Tokenizer().vocabulary)
    first, *_ = sets_table(summaries).splitlines()[2:]
    assert first.startswith(
        "| [OpenScore Lieder Corpus](https://github.com/OpenScore/Lieder) | CC0 1.0 | "
        "OpenScore Lieder Corpus | 2 | "
    )
