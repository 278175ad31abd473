"""From music on disk to training batches: corpora, windows of whole bars, and the completion mask.

The flow is one way: a corpus of `Piece`s (token ids and a name), split by piece; `Windows` of
prompt bars and completion bars; `collate`, which turns examples into a `Batch` and is the only
place where a completion mask is made.
"""

from rwkv_music.data.batching import Batch, collate
from rwkv_music.data.corpora import load_corpus, load_prompt, prompt_names
from rwkv_music.data.dataset import Corpus, Example, Piece, Windows, split_corpus

__all__ = [
    "Batch",
    "Corpus",
    "Example",
    "Piece",
    "Windows",
    "collate",
    "load_corpus",
    "load_prompt",
    "prompt_names",
    "split_corpus",
]
