"""Evaluation of models: likelihood of held-out music, baselines, statistics, copying."""

from rwkv_music.evaluation.held_out import NGRAM_ORDER, HeldOut, baselines
from rwkv_music.evaluation.likelihood import Likelihood, Measured
from rwkv_music.evaluation.ngram import NGramModel
from rwkv_music.evaluation.repetition import RepetitionModel

__all__ = [
    "NGRAM_ORDER",
    "HeldOut",
    "Likelihood",
    "Measured",
    "NGramModel",
    "RepetitionModel",
    "baselines",
]
