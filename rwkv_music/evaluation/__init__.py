"""How good the music is: likelihood of held-out completions, baselines, statistics, copying."""

from rwkv_music.evaluation.likelihood import CompletionLikelihood, completion_likelihood
from rwkv_music.evaluation.ngram import NGramModel, ngram_likelihood

__all__ = [
    "CompletionLikelihood",
    "NGramModel",
    "completion_likelihood",
    "ngram_likelihood",
]
