"""From music on disk to training batches: corpora, windows of whole bars, and the completion mask.

The flow is one way: a corpus of `Piece`s (token ids and a name), split by piece; `Windows` of
prompt bars and completion bars; `collate` and `pack`, which turn examples into a `Batch`, with one
of them in a row or several. `batching` is the only place where a completion mask is made.

Names are loaded on first use: worker processes read files here and need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rwkv_music.data.batching import Batch, collate
    from rwkv_music.data.corpora import load_corpus
    from rwkv_music.data.dataset import Corpus, Example, Piece, Windows, split_corpus
    from rwkv_music.data.doctor import FolderReport, examine_folder
    from rwkv_music.data.examination import FileReport, examine
    from rwkv_music.data.example_picture import draw_example
    from rwkv_music.data.merge import merge_stores
    from rwkv_music.data.packing import pack
    from rwkv_music.data.prepare import Prepared, prepare_store
    from rwkv_music.data.prompts import load_prompt, prompt_names
    from rwkv_music.data.random_windows import RandomWindows
    from rwkv_music.data.scanning import Shard
    from rwkv_music.data.store import Store
    from rwkv_music.data.store_files import StoreInfo
    from rwkv_music.data.workers import Outcome, map_in_workers

_HOME = {
    "Batch": "batching",
    "Corpus": "dataset",
    "Example": "dataset",
    "FileReport": "examination",
    "FolderReport": "doctor",
    "Outcome": "workers",
    "Piece": "dataset",
    "Prepared": "prepare",
    "RandomWindows": "random_windows",
    "Shard": "scanning",
    "Store": "store",
    "StoreInfo": "store_files",
    "Windows": "dataset",
    "collate": "batching",
    "draw_example": "example_picture",
    "examine": "examination",
    "examine_folder": "doctor",
    "load_corpus": "corpora",
    "load_prompt": "prompts",
    "map_in_workers": "workers",
    "pack": "packing",
    "merge_stores": "merge",
    "prepare_store": "prepare",
    "prompt_names": "prompts",
    "split_corpus": "dataset",
}

__all__ = [
    "Batch",
    "Corpus",
    "Example",
    "FileReport",
    "FolderReport",
    "Outcome",
    "Piece",
    "Prepared",
    "RandomWindows",
    "Shard",
    "Store",
    "StoreInfo",
    "Windows",
    "collate",
    "draw_example",
    "examine",
    "examine_folder",
    "load_corpus",
    "load_prompt",
    "map_in_workers",
    "merge_stores",
    "pack",
    "prepare_store",
    "prompt_names",
    "split_corpus",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the module exports
    if name not in _HOME:
        raise AttributeError(f"module 'rwkv_music.data' has no attribute '{name}'")
    return getattr(import_module(f"rwkv_music.data.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
