"""Load a corpus by name: the Bach chorales, a token store, or a folder of music files."""

from pathlib import Path

from rwkv_music.data.corpora.bach import bach_corpus
from rwkv_music.data.corpora.folders import folder_corpus
from rwkv_music.data.pieces import Corpus
from rwkv_music.data.store.store_info import is_store
from rwkv_music.data.store.token_store import Store
from rwkv_music.data.worker_pool import Progress
from rwkv_music.tokenizer import Tokenizer


def load_corpus(
    source: str | Path, tokenizer: Tokenizer | None = None, *, progress: Progress | None = None
) -> Corpus:
    """Load a corpus: "bach", a token store, or a folder of music files.

    Args:
        source: "bach" for the chorales of the installed music21; otherwise a folder, either a token
            store or one with music files.
        tokenizer: Tokenizer that encodes the scores; when None that of the store, or the default.
        progress: Called for each piece, unless the corpus is cached or a store.

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
