"""From music files to training batches: corpora, token stores, windows and data loaders.

The flow is one way: a corpus of `Piece`s (token ids and a name), split by piece; `Windows` of
prompt bars and completion bars; `collate` and `pack`, which turn examples into a `Batch` with one
or several examples per row. `loading.collate` is the only module that makes completion masks.

Names are imported on first use: worker processes read files here and need no torch.
"""

from typing import TYPE_CHECKING

from rwkv_music.lazy_names import lazy_names

if TYPE_CHECKING:
    from rwkv_music.data.corpora.load import load_corpus
    from rwkv_music.data.doctor.file_report import FileReport, examine_file
    from rwkv_music.data.doctor.folder_report import FolderReport, examine_folder
    from rwkv_music.data.loading.collate import Batch, collate
    from rwkv_music.data.loading.completion_windows import Example, Windows
    from rwkv_music.data.loading.example_picture import draw_example
    from rwkv_music.data.loading.packing import pack
    from rwkv_music.data.loading.random_windows import RandomWindows
    from rwkv_music.data.pieces import Corpus, Piece, split_corpus
    from rwkv_music.data.prompts import load_prompt, prompt_names
    from rwkv_music.data.scanning import Shard
    from rwkv_music.data.store.merge import merge_stores
    from rwkv_music.data.store.prepare import PrepareResult, prepare_store
    from rwkv_music.data.store.store_info import StoreInfo
    from rwkv_music.data.store.token_store import Store
    from rwkv_music.data.worker_pool import TaskResult, map_in_workers

_MODULES = {
    "Batch": "loading.collate",
    "Corpus": "pieces",
    "Example": "loading.completion_windows",
    "FileReport": "doctor.file_report",
    "FolderReport": "doctor.folder_report",
    "Piece": "pieces",
    "PrepareResult": "store.prepare",
    "RandomWindows": "loading.random_windows",
    "Shard": "scanning",
    "Store": "store.token_store",
    "StoreInfo": "store.store_info",
    "TaskResult": "worker_pool",
    "Windows": "loading.completion_windows",
    "collate": "loading.collate",
    "draw_example": "loading.example_picture",
    "examine_file": "doctor.file_report",
    "examine_folder": "doctor.folder_report",
    "load_corpus": "corpora.load",
    "load_prompt": "prompts",
    "map_in_workers": "worker_pool",
    "merge_stores": "store.merge",
    "pack": "loading.packing",
    "prepare_store": "store.prepare",
    "prompt_names": "prompts",
    "split_corpus": "pieces",
}

__all__ = [
    "Batch",
    "Corpus",
    "Example",
    "FileReport",
    "FolderReport",
    "Piece",
    "PrepareResult",
    "RandomWindows",
    "Shard",
    "Store",
    "StoreInfo",
    "TaskResult",
    "Windows",
    "collate",
    "draw_example",
    "examine_file",
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

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
