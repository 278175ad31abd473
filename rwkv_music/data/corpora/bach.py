"""The corpus of Bach chorales, kept in the cache folder."""

import hashlib
import json
import zipfile
import zlib
from contextlib import suppress
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

_DAMAGE = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError,
           MemoryError, zipfile.BadZipFile, zlib.error)  # fmt: skip
"""Errors with which reading a damaged cache file fails."""


def bach_corpus(tokenizer: Tokenizer, *, progress: Progress | None = None) -> Corpus:
    """Return the four-part Bach chorales of the installed music21, from the cache if possible."""
    cached = cache_folder() / f"bach-{_bach_key(tokenizer)}.npz"
    if (corpus := _read_corpus(cached, tokenizer)) is not None:
        return corpus
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
    with suppress(OSError):  # a cache that cannot be written only costs time
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


def _read_corpus(path: Path, tokenizer: Tokenizer) -> Corpus | None:
    """Return a cached corpus; None if there is none, or it is damaged and must be built again."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            ids, lengths = stored["ids"], stored["lengths"]
            names, groups = stored["names"].tolist(), stored["groups"].tolist()
            skipped = json.loads(str(stored["set_aside"]))
        if lengths.sum() != len(ids) or ids.max() >= tokenizer.vocab_size:
            return None
        all_ids = np.split(ids, np.cumsum(lengths)[:-1])
        rows = zip(names, all_ids, groups, strict=True)
        pieces = tuple(Piece(name=name, ids=ids, group=group) for name, ids, group in rows)
    except _DAMAGE:
        return None
    return Corpus("bach", pieces, tokenizer.settings, skipped)
