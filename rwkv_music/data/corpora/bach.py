"""The corpus of Bach chorales, kept in the cache folder."""

import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rwkv_music.atomic import atomic_writer
from rwkv_music.cache import cache_folder
from rwkv_music.data.corpora import chorales
from rwkv_music.data.corpora.melody_groups import melody_groups
from rwkv_music.data.pieces import Corpus, Piece
from rwkv_music.data.worker_pool import Progress
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Tokenizer

if TYPE_CHECKING:
    import symusic

_RECIPE = 2
"""Increased when the processing of the chorales changes, so that older caches are not used."""


def bach_corpus(tokenizer: Tokenizer, *, progress: Progress | None = None) -> Corpus:
    """Return the four-part Bach chorales of the installed music21, from the cache if possible."""
    cached = cache_folder() / f"bach-{_bach_key(tokenizer)}.npz"
    if cached.exists():
        return _read_corpus(cached, "bach", tokenizer)
    scores: dict[str, symusic.Score] = {}
    skipped: dict[str, str] = {}
    names = chorales.chorale_names()
    for done, name in enumerate(names, start=1):
        try:
            scores[name] = chorales.load_chorale(name)
        except InputError as error:
            skipped[name] = str(error)
        if progress is not None:
            progress(done, len(names), name)
    groups = melody_groups({name: chorales.melody_of(score) for name, score in scores.items()})
    pieces = tuple(
        Piece(name=name, ids=tokenizer.encode(score), group=groups[name])
        for name, score in scores.items()
    )
    corpus = Corpus("bach", pieces, tokenizer.settings, skipped)
    _write_corpus(corpus, cached)
    return corpus


def _bach_key(tokenizer: Tokenizer) -> str:
    """Return a key that changes whenever the cached ids would."""
    settings = sorted(tokenizer.settings.items())
    inputs = [_RECIPE, Tokenizer.VERSION, metadata.version("music21"), settings]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:16]


def _write_corpus(corpus: Corpus, path: Path) -> None:
    with atomic_writer(path) as partial, partial.open("wb") as stream:
        np.savez_compressed(
            stream,
            ids=np.concatenate([piece.ids for piece in corpus.pieces]),
            lengths=np.array([len(piece.ids) for piece in corpus.pieces]),
            names=np.array([piece.name for piece in corpus.pieces]),
            groups=np.array([piece.group for piece in corpus.pieces]),
            set_aside=np.array(json.dumps(dict(corpus.skipped))),
        )


def _read_corpus(path: Path, name: str, tokenizer: Tokenizer) -> Corpus:
    with np.load(path, allow_pickle=False) as stored:
        ends = np.cumsum(stored["lengths"])
        all_ids = np.split(stored["ids"], ends[:-1])
        rows = zip(stored["names"].tolist(), all_ids, stored["groups"].tolist(), strict=True)
        pieces = tuple(Piece(name=piece, ids=ids, group=group) for piece, ids, group in rows)
        skipped = json.loads(str(stored["set_aside"]))
    return Corpus(name, pieces, tokenizer.settings, skipped)
