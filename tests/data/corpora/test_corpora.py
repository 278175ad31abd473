"""Corpora of chorales and of folders with damaged files."""

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import symusic

from rwkv_music.data import load_corpus
from rwkv_music.data.corpora import chorales, corpus_cache
from rwkv_music.data.corpora.chorales import chorale_names, load_chorale, melody_of
from rwkv_music.errors import InputError
from rwkv_music.score import bar_starts, load_score, save_score
from rwkv_music.tokenizer import Tokenizer
from tests.damaged_zip import with_unknown_compression
from tests.data.crashing import BUG_PITCH, CRASH_PITCH, CrashingTokenizer
from tests.music import tune


def test_a_folder_corpus_has_the_good_files_and_names_the_bad_ones(tmp_path: Path) -> None:
    save_score(tune(bars=3), tmp_path / "good.mid")
    save_score(tune(bars=3, seed=1), tmp_path / "deeper" / "other.MID")
    save_score(tune(bars=3), tmp_path / "copy.mid")
    (tmp_path / "bad.mid").write_bytes(b"no music at all")
    (tmp_path / "readme.txt").write_text("not looked at")
    read: list[str] = []
    corpus = load_corpus(
        tmp_path, Tokenizer(), progress=lambda _done, _total, name: read.append(name)
    )
    assert [piece.name for piece in corpus.pieces] == ["copy.mid", "deeper/other.MID", "good.mid"]
    groups = {piece.name: piece.group for piece in corpus.pieces}
    assert groups["copy.mid"] == groups["good.mid"] != groups["deeper/other.MID"]
    assert list(corpus.skipped) == ["bad.mid"]
    assert "bad.mid" in corpus.skipped["bad.mid"]
    assert len(read) == 4


def test_a_file_that_crashes_its_reader_affects_no_other(tmp_path: Path) -> None:
    for name, pitch in {"crash.mid": CRASH_PITCH, "bug.mid": BUG_PITCH}.items():
        score = tune(bars=3)
        score.tracks[0].notes[0].pitch = pitch
        save_score(score, tmp_path / name)
    save_score(tune(bars=3, seed=1), tmp_path / "good.mid")
    corpus = load_corpus(tmp_path, CrashingTokenizer())
    assert [piece.name for piece in corpus.pieces] == ["good.mid"]
    crash, bug = corpus.skipped["crash.mid"], corpus.skipped["bug.mid"]
    assert crash.startswith(f"{tmp_path / 'crash.mid'}: ends its process (")
    assert crash.endswith("): export it again in another format, or leave it out")
    assert "bug.mid: RuntimeError: a bug of ours: leave it out, and please report this" in bug


def test_workers_read_a_folder_like_this_process(tmp_path: Path) -> None:
    for seed in range(4):
        save_score(tune(bars=3, seed=seed), tmp_path / f"{seed}.mid")
    corpus = load_corpus(tmp_path, Tokenizer())
    for piece in corpus.pieces:
        expected = Tokenizer().encode(load_score(tmp_path / piece.name))
        assert piece.ids.dtype == expected.dtype
        assert piece.ids.tolist() == expected.tolist()


def test_a_folder_without_music_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"contains no music file \(\.mid, "):
        load_corpus(tmp_path, Tokenizer())
    with pytest.raises(InputError, match="is not a folder"):
        load_corpus(tmp_path / "nowhere", Tokenizer())
    (tmp_path / "bad.mid").write_bytes(b"")
    with pytest.raises(InputError, match="none of the 1 files"):
        load_corpus(tmp_path, Tokenizer())


def test_a_pickup_is_at_the_end_of_a_full_first_bar() -> None:
    score = load_chorale("bwv269")
    assert len(score.tracks) == 4
    starts = bar_starts(score)
    quarter = score.ticks_per_quarter
    assert set(np.diff(starts)) == {3 * quarter}
    # The printed pickup is one quarter of a bar of three.
    assert min(track.notes[0].time for track in score.tracks) == 2 * quarter
    assert [(sign.numerator, sign.denominator) for sign in score.time_signatures] == [(3, 4)]


def test_measures_split_at_a_repeat_sign_are_joined() -> None:
    score = load_chorale("bwv347")
    assert set(np.diff(bar_starts(score))) == {4 * score.ticks_per_quarter}
    assert melody_of(score).ndim == 1


def test_chorales_are_sorted_by_their_number() -> None:
    names = chorale_names()
    assert len(names) > 300
    assert names.index("bwv66.6") < names.index("bwv253") < names.index("bwv400")


def test_an_unknown_chorale_is_refused() -> None:
    with pytest.raises(InputError, match="no Bach chorale 'bwv9999'"):
        load_chorale("bwv9999")


def two_chorales(monkeypatch: pytest.MonkeyPatch, cache: Path) -> list[str]:
    """Reduce the corpus to two chorales, with a cache of its own; return the names read so far."""
    read: list[str] = []

    def load(name: str) -> symusic.Score:
        read.append(name)
        return load_chorale(name)

    monkeypatch.setenv("RWKV_MUSIC_CACHE", str(cache))
    monkeypatch.setattr(chorales, "chorale_names", lambda: ["bwv269", "bwv347"])
    monkeypatch.setattr(chorales, "load_chorale", load)
    return read


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def fill_with_noise(path: Path) -> None:
    path.write_bytes(b"PK\3\4" + bytes(range(256)))


def flip_a_bit_of_the_ids(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"ids.npy") + 300] ^= 1
    path.write_bytes(content)


def rewrite(path: Path, **changes: np.ndarray) -> None:
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files} | changes
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def lengthen(path: Path) -> None:
    rewrite(path, lengths=np.array([4, 5]))


def forget_a_name(path: Path) -> None:
    rewrite(path, names=np.array(["bwv269"]))


def raise_the_ids(path: Path) -> None:
    rewrite(path, ids=np.full(9, 60_000, dtype=np.uint16), lengths=np.array([4, 5]))


def spoil_the_json(path: Path) -> None:
    rewrite(path, set_aside=np.array("{"))


def name_an_unknown_compression(path: Path) -> None:
    path.write_bytes(with_unknown_compression(path.read_bytes()))


def replace_by_another_array(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, other=np.zeros(3))


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        empty,
        fill_with_noise,
        flip_a_bit_of_the_ids,
        lengthen,
        forget_a_name,
        raise_the_ids,
        spoil_the_json,
        name_an_unknown_compression,
        replace_by_another_array,
    ],
)
def test_a_damaged_cache_of_the_chorales_is_built_again(
    damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read = two_chorales(monkeypatch, tmp_path)
    original = load_corpus("bach")
    assert read == ["bwv269", "bwv347"]
    (cached,) = tmp_path.glob("bach-*.npz")
    assert load_corpus("bach").content_hash == original.content_hash
    assert len(read) == 2
    damage(cached)
    assert load_corpus("bach").content_hash == original.content_hash
    assert len(read) == 4
    assert load_corpus("bach").content_hash == original.content_hash
    assert len(read) == 4


def test_a_cache_that_cannot_be_written_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    two_chorales(monkeypatch, tmp_path)
    monkeypatch.setattr(corpus_cache, "atomic_writer", refuse)
    assert len(load_corpus("bach").pieces) == 2
    assert list(tmp_path.glob("*.npz")) == []
