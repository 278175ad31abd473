"""Continue scores: prefill, recurrent steps, sampling under the grammar's mask, sessions."""

from rwkv_music.generation.continuation import Continuation, continue_score
from rwkv_music.generation.sampling import SamplingSettings
from rwkv_music.generation.session import Session, SessionNode

__all__ = [
    "Continuation",
    "SamplingSettings",
    "Session",
    "SessionNode",
    "continue_score",
]
