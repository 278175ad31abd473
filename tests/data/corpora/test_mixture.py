"""Mixtures: how they are named, what is one piece across their sets, and what is held out."""

from pathlib import Path

import pytest
import symusic

from rwkv_music.data import Store, load_corpus, prepare_store, split_corpus
from rwkv_music.data.corpora.about import CorpusAbout, read_about, write_about
from rwkv_music.data.corpora.corpus_list import WeightedSource, corpora_text, parse_corpora
from rwkv_music.data.corpora.mixture import Mixture
from rwkv_music.data.corpora.set_summaries import set_summaries
from rwkv_music.errors import InputError
from rwkv_music.score import save_score
from rwkv_music.tokenizer import Tokenizer
from tests.music import tune

TOKENIZER = Tokenizer()


def write_set(folder: Path, seeds: range, *, program: int = 0) -> Path:
    for seed in seeds:
        save_score(tune(bars=16, seed=seed, program=program), folder / f"{seed}.mid")
    return folder


def load_mixture(*sources: str | Path) -> Mixture:
    corpus = load_corpus(" ".join(str(source) for source in sources))
    assert isinstance(corpus, Mixture)
    return corpus


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders and a store; `b/0.mid` is `a/0.mid` a fourth higher on another instrument."""
    folder = tmp_path_factory.mktemp("music")
    write_set(folder / "a", range(8))
    write_set(folder / "b", range(100, 112))
    copy = tune(bars=16, seed=0, program=40)
    for track in copy.tracks:
        for note in track.notes:
            note.pitch += 5
    save_score(copy, folder / "b" / "0.mid")
    prepare_store(write_set(folder / "files", range(200, 210)), folder / "store")
    return folder


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bach", [("bach", 1)]),
        ("stores/pop=2 bach", [("stores/pop", 2), ("bach", 1)]),
        ('"My Music"=0.5  x', [("My Music", 0.5), ("x", 1)]),
        (r"C:\music\pop=3 D:\x", [(r"C:\music\pop", 3), (r"D:\x", 1)]),
        ("key=value other", [("key=value", 1), ("other", 1)]),
        ("", [("", 1)]),
    ],
)
def test_corpora_are_named_with_weights(text: str, expected: list[tuple[str, float]]) -> None:
    assert parse_corpora(text) == [WeightedSource(*entry) for entry in expected]


def test_a_folder_that_exists_is_one_corpus_whatever_its_name(tmp_path: Path) -> None:
    for name in ("My Music", "weight=2", 'a "quote'):
        (tmp_path / name).mkdir()
        assert parse_corpora(str(tmp_path / name)) == [WeightedSource(str(tmp_path / name))]
    two = parse_corpora(f"{tmp_path}/weight=2 bach")
    assert two[0] == WeightedSource(f"{tmp_path}/weight=2")


def test_the_text_of_corpora_names_the_same_corpora() -> None:
    entries = [WeightedSource("stores/pop", 2), WeightedSource("My Music"), WeightedSource("x")]
    assert parse_corpora(corpora_text(entries)) == entries
    assert corpora_text(["one folder"]) == "one folder"
    assert parse_corpora(corpora_text(["one folder", "b=3"])) == [
        WeightedSource("one folder"), WeightedSource("b", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"open bach', "close the quote"),
        ("a=0 b", "the weight of corpus 'a' must be a number above 0, got 0"),
        ("a=nan b", "above 0, got nan"),
        ("a a=2", "'a' is named twice"),
    ],
)
def test_a_text_that_names_no_mixture_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_corpora(text)


def test_a_mixture_has_the_pieces_of_its_sets_under_their_names(music: Path) -> None:
    corpus = load_mixture(f"{music / 'a'}=2", music / "store")
    sets = [(own.name, own.weight, own.num_pieces) for own in corpus.sets]
    assert sets == [("a", 2, 8), ("store", 1, 10)]
    alone = {f"a/{piece.name}": piece.ids.tolist() for piece in load_corpus(music / "a").pieces}
    alone |= {f"store/{piece.name}": piece.ids.tolist() for piece in Store(music / "store").train}
    alone |= {f"store/{piece.name}": piece.ids.tolist() for piece in Store(music / "store").valid}
    assert {piece.name: piece.ids.tolist() for piece in corpus.pieces} == alone


def test_sets_of_one_name_are_told_apart_by_their_paths(music: Path, tmp_path: Path) -> None:
    write_set(tmp_path / "a", range(300, 303))
    names = [music_set.name for music_set in load_mixture(music / "a", tmp_path / "a").sets]
    assert names == [str(music / "a"), str(tmp_path / "a")]


def test_the_same_music_in_two_sets_is_on_one_side(music: Path) -> None:
    corpus = load_mixture(music / "a", music / "b")
    groups = {piece.name: piece.group for piece in corpus.pieces}
    assert groups["a/0.mid"] == groups["b/0.mid"]
    assert len(set(groups.values())) == len(groups) - 1
    for fraction in (0.05, 0.3, 0.6, 0.9):
        train, valid = split_corpus(corpus, valid_fraction=fraction)
        assert {piece.group for piece in train}.isdisjoint({piece.group for piece in valid})
        for ranges in (corpus.ranges(train), corpus.ranges(valid)):
            assert all(len(own_range) > 0 for own_range in ranges), "each set is on both sides"


def test_a_set_holds_out_the_pieces_that_it_holds_out_alone(music: Path) -> None:
    _, alone = split_corpus(load_corpus(music / "store"))
    _, valid = split_corpus(load_mixture(music / "a", music / "store"))
    assert {f"store/{piece.name}" for piece in alone} <= {piece.name for piece in valid}


def test_movements_of_a_work_are_on_one_side(music: Path, tmp_path: Path) -> None:
    folder = write_set(tmp_path / "c", range(400, 406))
    write_about(CorpusAbout(works={"400.mid": "sonata", "405.mid": "sonata"}), folder)
    groups = {piece.name: piece.group for piece in load_mixture(music / "a", folder).pieces}
    assert groups["c/400.mid"] == groups["c/405.mid"] != groups["c/401.mid"]


def test_pieces_are_compared_once(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    text = f"{music / 'a'}=2 {music / 'store'}"
    first = load_corpus(text)
    monkeypatch.setattr(
        "rwkv_music.data.corpora.near_duplicate_cache.fingerprint", lambda score: seen.append("x")
    )
    again = load_corpus(text.replace("=2", "=3"))
    assert not seen
    assert again.content_hash == first.content_hash


def test_another_piece_is_another_mixture(music: Path, tmp_path: Path) -> None:
    folder = write_set(tmp_path / "c", range(400, 406))
    before = load_mixture(music / "a", folder).content_hash
    save_score(tune(bars=9, seed=7), folder / "400.mid")
    assert load_mixture(music / "a", folder).content_hash != before


def test_sets_with_different_tokenizers_are_refused(music: Path, tmp_path: Path) -> None:
    prepare_store(music / "files", tmp_path / "fine", tokenizer=Tokenizer(steps_per_quarter=48))
    with pytest.raises(InputError, match="use the same settings"):
        load_mixture(music / "store", tmp_path / "fine")
    assert (
        load_mixture(music / "a", tmp_path / "fine").tokenizer_settings["steps_per_quarter"] == 48
    )


def test_a_set_that_would_be_held_out_whole_is_refused(music: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    held_out = split_corpus(load_corpus(music / "a"))[1][0]
    score: symusic.Score = TOKENIZER.decode(held_out.ids)
    save_score(score, tmp_path / "one" / "same.mid")
    with pytest.raises(InputError, match=r"no piece of .*one' is left to train on"):
        split_corpus(load_mixture(music / "a", tmp_path / "one"))


def test_the_summary_lists_terms_and_sizes_of_each_set(music: Path, tmp_path: Path) -> None:
    folder = write_set(tmp_path / "c", range(400, 406))
    write_about(CorpusAbout(title="C", licence="CC0 1.0", attribution="by me"), folder)
    corpus = load_mixture(music / "a", f"{folder}=3")
    train, valid = split_corpus(corpus)
    rows = set_summaries(corpus, train, valid, TOKENIZER.vocabulary)
    assert rows[1]["title"] == "C"
    assert rows[1]["licence"] == "CC0 1.0"
    assert rows[1]["weight"] == 3
    assert "licence" not in rows[0]
    assert rows[1]["pieces_train"] + rows[1]["pieces_valid"] == 6
    notes = sum(tune(bars=16, seed=seed).note_num() for seed in range(400, 406))
    assert rows[1]["notes_train"] + rows[1]["notes_valid"] == notes
    assert sum(row["tokens_train"] for row in rows) == sum(len(piece.ids) for piece in train)


@pytest.mark.parametrize("content", ["[]", "{", '{"title": 3}', '{"works": {"a": 1}}'])
def test_a_damaged_about_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "about.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"about\.json cannot be read"):
        read_about(tmp_path)
