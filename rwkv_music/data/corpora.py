"""Corpora by name: the built-in chorales, a token store, or a folder of music files."""

import hashlib
import json
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rwkv_music.atomic import atomic_writer
from rwkv_music.cache import cache_folder
from rwkv_music.data import chorales
from rwkv_music.data.dataset import Corpus, Ids, Piece
from rwkv_music.data.doctor import REMEDIES
from rwkv_music.data.likeness import Fingerprint, fingerprint, group_alike
from rwkv_music.data.melody import melody_groups
from rwkv_music.data.scanning import find_files
from rwkv_music.data.store import Store
from rwkv_music.data.store_files import is_store
from rwkv_music.data.workers import Progress, map_in_workers, usable_cores
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Tokenizer

if TYPE_CHECKING:
    import symusic

_FILES_WORTH_A_WORKER = 64
"""Starting a process takes about as long as reading so many."""
_SECONDS_TO_READ = 120.0
"""For any file: on a busy machine, too, the same files must make the same corpus."""

_RECIPE = 2
"""Counts up when what is done to the chorales changes, so that old caches are not used."""


def load_corpus(
    source: str | Path, tokenizer: Tokenizer | None = None, *, progress: Progress | None = None
) -> Corpus:
    """The corpus called `source`: "bach", a token store, or a folder searched for music files.

    Args:
        source: "bach" for the chorales in the installed music21, else a folder: one that `prepare`
            made, or one of music files.
        tokenizer: What turns the scores into ids; when None that of the store, or the default one.
        progress: Told of each piece; a cached corpus and a store need none.

    Raises:
        InputError: If the folder does not exist or no file in it can be used, or if the store was
            made with another tokenizer.
    """
    if str(source) != "bach" and is_store(source):
        store = Store(source)
        store.check_tokenizer(tokenizer or store.tokenizer)
        return store.corpus()
    tokenizer = tokenizer or Tokenizer()
    if str(source) == "bach":
        return bach_corpus(tokenizer, progress=progress)
    return folder_corpus(Path(source), tokenizer, progress=progress)


def bach_corpus(tokenizer: Tokenizer, *, progress: Progress | None = None) -> Corpus:
    """The four-part Bach chorales of the installed music21, from the cache when they are there."""
    cached = cache_folder() / f"bach-{_bach_key(tokenizer)}.npz"
    if cached.exists():
        return _read_corpus(cached, "bach", tokenizer)
    scores: dict[str, symusic.Score] = {}
    set_aside: dict[str, str] = {}
    names = chorales.chorale_names()
    for done, name in enumerate(names, start=1):
        try:
            scores[name] = chorales.load_chorale(name)
        except InputError as error:
            set_aside[name] = str(error)
        if progress is not None:
            progress(done, len(names), name)
    groups = melody_groups({name: chorales.melody_of(score) for name, score in scores.items()})
    pieces = tuple(
        Piece(name=name, ids=tokenizer.encode(score), group=groups[name])
        for name, score in scores.items()
    )
    corpus = Corpus("bach", pieces, tokenizer.settings, set_aside)
    _write_corpus(corpus, cached)
    return corpus


def folder_corpus(
    folder: Path, tokenizer: Tokenizer, *, progress: Progress | None = None
) -> Corpus:
    """Every music file in a folder and below it; files that cannot be used are set aside by name.

    Files are read in separate processes, so that one that crashes its reader costs only itself.
    Files with the same music form one group, also in another key, at another tempo or arranged
    otherwise, so that copies never stand on both sides of a split.
    """
    from rwkv_music.score.files import READABLE_SUFFIXES

    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give a folder of music files, or 'bach'")
    files = find_files(folder).music
    if not files:
        raise InputError(
            f"{folder} holds no music file ({', '.join(READABLE_SUFFIXES)}): give another folder"
        )
    paths = [folder / file.name for file in files if not file.problem]
    found: dict[str, Ids] = {}
    prints: dict[str, Fingerprint] = {}
    set_aside = {
        file.name: f"{folder / file.name}: {file.problem}" for file in files if file.problem
    }
    outcomes = map_in_workers(
        _Reader(tokenizer),
        paths,
        workers=min(usable_cores(), 1 + len(paths) // _FILES_WORTH_A_WORKER),
        seconds=_SECONDS_TO_READ,
        in_order=True,
    )
    with closing(outcomes):
        for done, outcome in enumerate(outcomes, start=1):
            name = outcome.item.relative_to(folder).as_posix()
            read = outcome.result
            if read is None:
                assert outcome.failure is not None
                kind, reason, *_ = outcome.failure
                set_aside[name] = f"{outcome.item}: {reason}: {REMEDIES[kind]}"
            elif isinstance(read, str):
                set_aside[name] = read
            else:
                found[name], prints[name] = read
            if progress is not None:
                progress(done, len(paths), name)
    if not found:
        reason = next(iter(set_aside.values()))
        raise InputError(f"none of the {len(files)} files in {folder} can be used; first: {reason}")
    hashes = {name: hashlib.sha256(ids.tobytes()).hexdigest() for name, ids in found.items()}
    groups = group_alike(hashes, prints)
    pieces = tuple(Piece(name, ids, groups[name]) for name, ids in found.items())
    return Corpus(str(folder), pieces, tokenizer.settings, set_aside)


class _Reader:
    """Reads a file and encodes it; a worker's function."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __call__(self, path: Path) -> tuple[Ids, Fingerprint] | str:
        """Its ids and what it is recognised by, or why it cannot be used."""
        from rwkv_music.score import load_score

        try:
            score = load_score(path)
            return self._tokenizer.encode(score), fingerprint(score)
        except InputError as error:
            return str(error)


def _bach_key(tokenizer: Tokenizer) -> str:
    """Changes whenever the cached ids would."""
    settings = sorted(tokenizer.settings.items())
    facts = [_RECIPE, Tokenizer.VERSION, metadata.version("music21"), settings]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _write_corpus(corpus: Corpus, path: Path) -> None:
    lengths = [len(piece.ids) for piece in corpus.pieces]
    with atomic_writer(path) as aside, aside.open("wb") as stream:
        np.savez_compressed(
            stream,
            ids=np.concatenate([piece.ids for piece in corpus.pieces]),
            lengths=np.array(lengths),
            names=np.array([piece.name for piece in corpus.pieces]),
            groups=np.array([piece.group for piece in corpus.pieces]),
            set_aside=np.array(json.dumps(dict(corpus.set_aside))),
        )


def _read_corpus(path: Path, name: str, tokenizer: Tokenizer) -> Corpus:
    with np.load(path, allow_pickle=False) as stored:
        ends = np.cumsum(stored["lengths"])
        all_ids = np.split(stored["ids"], ends[:-1])
        rows = zip(stored["names"].tolist(), all_ids, stored["groups"].tolist(), strict=True)
        pieces = tuple(Piece(name=piece, ids=ids, group=group) for piece, ids, group in rows)
        set_aside = json.loads(str(stored["set_aside"]))
    return Corpus(name, pieces, tokenizer.settings, set_aside)
