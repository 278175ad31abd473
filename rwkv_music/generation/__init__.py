"""A prompt goes in, continuations come out: prefill, recurrent steps, grammar-masked sampling."""

from rwkv_music.generation.continuation import Continuation, continue_score
from rwkv_music.generation.sampling import SamplingSettings, sample_tokens
from rwkv_music.generation.session import Session, SessionNode

__all__ = [
    "Continuation",
    "SamplingSettings",
    "Session",
    "SessionNode",
    "continue_score",
    "sample_tokens",
]
