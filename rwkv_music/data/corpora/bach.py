"""The corpus of Bach chorales, kept in the cache folder."""

from typing import TYPE_CHECKING

from rwkv_music.data.corpora import chorales
from rwkv_music.data.corpora.corpus_cache import cached_corpus
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
    return cached_corpus("bach", _RECIPE, tokenizer, lambda: _build(tokenizer, progress))


def _build(tokenizer: Tokenizer, progress: Progress | None) -> Corpus:
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
    return Corpus("bach", pieces, tokenizer.settings, skipped)
