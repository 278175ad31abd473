"""Load a corpus by name: a built-in one, a token store, a folder of files, or a mixture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rwkv_music.data.corpora.bach import bach_corpus
from rwkv_music.data.corpora.corpus_list import WeightedSource, parse_corpora
from rwkv_music.data.corpora.folders import folder_corpus
from rwkv_music.data.corpora.folk import folk_corpus
from rwkv_music.data.corpora.mixture import mix_corpora
from rwkv_music.data.pieces import Corpus
from rwkv_music.data.store.store_info import is_store
from rwkv_music.data.store.token_store import Store
from rwkv_music.data.worker_pool import Progress
from rwkv_music.tokenizer import Tokenizer

_BUILT_IN = {"bach": bach_corpus, "folk": folk_corpus}


def load_corpus(
    source: str | Path,
    tokenizer: Tokenizer | None = None,
    *,
    unfold_repeats: bool = False,
    progress: Progress | None = None,
) -> Corpus:
    """Load a corpus, or a mixture of several.

    Args:
        source: "bach" (chorales) or "folk" (fiddle tunes) of the installed music21, the folder of a
            token store, or one of music files. A string may name several, with weights: see
            `parse_corpora`.
        tokenizer: Tokenizer that encodes the scores; when None that of the first store, or the
            default.
        unfold_repeats: Play the repeats and endings of the files of a folder, as `load_score` does.
        progress: Called for each piece, unless the corpus is cached or a store.

    Raises:
        InputError: If the folder does not exist or no file in it can be used, or if the store was
            made with another tokenizer.

    Example:
        load_corpus("stores/pop=2 stores/songs bach")
    """
    entries = parse_corpora(source) if isinstance(source, str) else [WeightedSource(str(source))]
    if len(entries) == 1:
        return _load_one(entries[0].source, tokenizer, progress, unfold_repeats=unfold_repeats)
    tokenizer = tokenizer or _tokenizer_of([entry.source for entry in entries])
    corpora = [
        _load_one(entry.source, tokenizer, progress, unfold_repeats=unfold_repeats)
        for entry in entries
    ]
    return mix_corpora(entries, corpora, tokenizer, progress=progress)


@dataclass(frozen=True)
class CorpusSource:
    """What a run trains on: a corpus or several, by name."""

    text: str
    """As `load_corpus` takes it."""
    unfold_repeats: bool = False
    """As for `load_corpus`."""

    def is_made_of_stores(self) -> bool:
        """Return whether it is token stores only, which each process can open by itself."""
        return all(
            entry.source not in _BUILT_IN and is_store(entry.source)
            for entry in parse_corpora(self.text)
        )

    def load(self, *, progress: Progress | None = None) -> Corpus:
        """Load it; see `load_corpus`."""
        return load_corpus(self.text, unfold_repeats=self.unfold_repeats, progress=progress)


def _load_one(
    source: str, tokenizer: Tokenizer | None, progress: Progress | None, *, unfold_repeats: bool
) -> Corpus:
    if source not in _BUILT_IN and is_store(source):
        store = Store(source)
        store.check_tokenizer(tokenizer or store.tokenizer)
        return store.corpus()
    tokenizer = tokenizer or Tokenizer()
    if source in _BUILT_IN:
        return _BUILT_IN[source](tokenizer, progress=progress)
    return folder_corpus(Path(source), tokenizer, unfold_repeats=unfold_repeats, progress=progress)


def _tokenizer_of(sources: Sequence[str]) -> Tokenizer:
    for source in sources:
        if source not in _BUILT_IN and is_store(source):
            return Store(source).tokenizer
    return Tokenizer()
