"""Built-in corpora as token ids in the cache folder."""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import numpy as np

from rwkv_music.atomic import atomic_writer
from rwkv_music.cache import cache_folder
from rwkv_music.data.pieces import Corpus, Piece
from rwkv_music.tokenizer import Tokenizer

_DAMAGE = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError,
           MemoryError, zipfile.BadZipFile, zlib.error)  # fmt: skip
"""Errors with which reading a damaged cache file fails. NotImplementedError: zipfile does not
implement every compression that a damaged header may name."""


def cached_corpus(
    name: str, recipe: int, tokenizer: Tokenizer, build: Callable[[], Corpus]
) -> Corpus:
    """Return a corpus of the installed music21, from the cache if possible.

    Args:
        name: Name of the corpus.
        recipe: Increased when its processing changes, so that older caches are not used.
        tokenizer: Tokenizer that encodes its scores.
        build: Makes the corpus if it is not cached.
    """
    cached = cache_folder() / f"{name}-{_key(recipe, tokenizer)}.npz"
    if (corpus := _read_corpus(name, cached, tokenizer)) is not None:
        return corpus
    corpus = build()
    with suppress(OSError):  # a cache that cannot be written only costs time
        _write_corpus(corpus, cached)
    return corpus


def _key(recipe: int, tokenizer: Tokenizer) -> str:
    """Return a key that changes whenever the cached ids would."""
    settings = sorted(tokenizer.settings.items())
    inputs = [recipe, Tokenizer.VERSION, metadata.version("music21"), settings]
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


def _read_corpus(name: str, path: Path, tokenizer: Tokenizer) -> Corpus | None:
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
        pieces = tuple(Piece(name=piece, ids=ids, group=group) for piece, ids, group in rows)
    except _DAMAGE:
        return None
    return Corpus(name, pieces, tokenizer.settings, skipped)
