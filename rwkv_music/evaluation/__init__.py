"""Evaluation of models: likelihood of held-out music, baselines, statistics, copying.

Names are imported on first use, so that settings can be read without torch.
"""

from typing import TYPE_CHECKING

from rwkv_music.lazy_names import lazy_names

if TYPE_CHECKING:
    from rwkv_music.evaluation.held_out import NGRAM_ORDER, HeldOut, baselines
    from rwkv_music.evaluation.likelihood import Likelihood, Measured
    from rwkv_music.evaluation.ngram import NGramModel
    from rwkv_music.evaluation.repetition import RepetitionModel

_MODULES = {
    "NGRAM_ORDER": "held_out",
    "HeldOut": "held_out",
    "Likelihood": "likelihood",
    "Measured": "likelihood",
    "NGramModel": "ngram",
    "RepetitionModel": "repetition",
    "baselines": "held_out",
}

__all__ = [
    "NGRAM_ORDER",
    "HeldOut",
    "Likelihood",
    "Measured",
    "NGramModel",
    "RepetitionModel",
    "baselines",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
