"""The corpus of tunes: files of one and of several tunes, groups, and the cache."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rwkv_music.data import load_corpus
from rwkv_music.data.corpora import folk
from rwkv_music.data.corpora.folk import load_tune, tune_names
from rwkv_music.errors import InputError

SCALE = "CDEF GABc|dcBA GFED|EFGA Bcde|fedc BAGF|GABc defg|agfe dcBA|"
ONE_STEP_UP = str.maketrans("CDEFGABcdefga", "DEFGABcdefgab")
HEAD = "M:4/4\nL:1/8\n"


@pytest.fixture
def tunes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A folder like music21's with four tunes, two of which are the same, and one without notes."""
    for collection in ("airdsAirs", "oneills1850", "ryansMammoth"):
        (tmp_path / "corpus" / collection).mkdir(parents=True)
    corpus = tmp_path / "corpus"
    first, other = SCALE * 2, SCALE[::-1].replace("|", "") * 2 + "|"
    (corpus / "ryansMammoth" / "ScaleReel.abc").write_text(f"X:1\nT:Reel\n{HEAD}K:C\n{first}\n")
    (corpus / "oneills1850" / "1-3.abc").write_text(
        f"R:air\n\nX:1\n{HEAD}K:D\n{first.translate(ONE_STEP_UP)}\n\nX:2\n{HEAD}K:C\n{other}\n\nX:3\nT:none\nK:C\n"
    )
    monkeypatch.setattr(folk, "_music21_folder", lambda: tmp_path)
    monkeypatch.setenv("RWKV_MUSIC_CACHE", str(tmp_path / "cache"))
    folk._tunes.cache_clear()
    yield
    folk._tunes.cache_clear()


def test_each_tune_of_a_file_is_a_piece(tunes: None) -> None:
    assert tune_names() == [
        "oneills1850/1-3-1", "oneills1850/1-3-2", "oneills1850/1-3-3", "ryansMammoth/ScaleReel",
    ]  # fmt: skip
    corpus = load_corpus("folk")
    assert corpus.name == "folk"
    assert [piece.name for piece in corpus.pieces] == [tune_names()[index] for index in (0, 1, 3)]
    assert list(corpus.skipped) == ["oneills1850/1-3-3"]
    assert load_tune("oneills1850/1-3-1").key_signatures[0].key == 2


def test_a_tune_in_two_keys_is_one_group(tunes: None) -> None:
    groups = [piece.group for piece in load_corpus("folk").pieces]
    assert groups[0] == groups[2] != groups[1]


def test_tunes_are_read_once(tunes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_corpus("folk")
    monkeypatch.setattr(folk, "load_tune", lambda name: pytest.fail(f"{name} is read again"))
    assert load_corpus("folk").content_hash == first.content_hash


def test_an_unknown_tune_is_refused(tunes: None) -> None:
    with pytest.raises(InputError, match="there is no tune 'x' in the installed music21"):
        load_tune("x")


def test_the_installed_music21_has_the_three_collections() -> None:
    names = tune_names()
    assert {name.split("/")[0] for name in names} == {"airdsAirs", "oneills1850", "ryansMammoth"}
    assert len(names) > 4000
    assert load_tune("ryansMammoth/LanigansBallJig").note_num() == 77
