"""rwkv-music: train and play with RWKV-7 models of symbolic music.

The names listed in `__all__` are the ones a user types. They are loaded on first use, so that
`import rwkv_music` itself takes a moment only (torch, music21 and pygame are heavy).
"""

import os
from typing import TYPE_CHECKING

from rwkv_music.lazy_names import lazy_names

# oneDNN keeps a kernel with its workspace for each shape of bfloat16 product, by default so many
# that training on windows of many lengths grows by gigabytes. It looks here at its first product,
# also when torch is loaded already; what the user has set stays.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")

if TYPE_CHECKING:
    from rwkv_music.evaluation.surprise import surprise
    from rwkv_music.generation import (
        Constraints,
        Controls,
        Keep,
        Request,
        Session,
        continue_score,
        fill_score,
        stream,
    )
    from rwkv_music.model import load_model
    from rwkv_music.ops.wkv7 import wkv7
    from rwkv_music.score import load_score, save_score, to_score
    from rwkv_music.tokenizer import Tokenizer
    from rwkv_music.training import TrainingConfig, attach, start_training

__version__ = "0.2.0"

_MODULES = {
    "Constraints": "generation",
    "Controls": "generation",
    "Keep": "generation",
    "Request": "generation",
    "Session": "generation",
    "Tokenizer": "tokenizer",
    "TrainingConfig": "training",
    "attach": "training",
    "continue_score": "generation",
    "fill_score": "generation",
    "load_model": "model",
    "load_score": "score",
    "save_score": "score",
    "start_training": "training",
    "stream": "generation",
    "surprise": "evaluation.surprise",
    "to_score": "score",
    "wkv7": "ops.wkv7",
}

__all__ = [
    "Constraints",
    "Controls",
    "Keep",
    "Request",
    "Session",
    "Tokenizer",
    "TrainingConfig",
    "__version__",
    "attach",
    "continue_score",
    "fill_score",
    "load_model",
    "load_score",
    "save_score",
    "start_training",
    "stream",
    "surprise",
    "to_score",
    "wkv7",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
