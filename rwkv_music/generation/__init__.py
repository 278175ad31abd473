"""Write music: continue scores, fill bars and parts of them, in sessions of many candidates.

Names are imported on first use, so that settings can be read without torch.
"""

from typing import TYPE_CHECKING

from rwkv_music.lazy_names import lazy_names

if TYPE_CHECKING:
    from rwkv_music.generation.constraints.constraints import Constraints
    from rwkv_music.generation.continuation import Continuation, continue_score
    from rwkv_music.generation.fill_ranking import best_fillings, rank_fillings
    from rwkv_music.generation.filling import fill_score
    from rwkv_music.generation.hole_filling import Filling
    from rwkv_music.generation.ranking import Ranking, best_continuations, rank_continuations
    from rwkv_music.generation.request.controls import Controls
    from rwkv_music.generation.request.generation_settings import (
        ContinuationSettings,
        SamplingSettings,
    )
    from rwkv_music.generation.request.keep import Keep
    from rwkv_music.generation.request.request import Request
    from rwkv_music.generation.session.session import Session
    from rwkv_music.generation.session.session_node import SessionNode
    from rwkv_music.generation.streaming import BarEnd, NewNote, Stream, stream

_MODULES = {
    "BarEnd": "streaming",
    "Constraints": "constraints.constraints",
    "Continuation": "continuation",
    "ContinuationSettings": "request.generation_settings",
    "Controls": "request.controls",
    "Filling": "hole_filling",
    "Keep": "request.keep",
    "NewNote": "streaming",
    "Ranking": "ranking",
    "Request": "request.request",
    "SamplingSettings": "request.generation_settings",
    "Session": "session.session",
    "SessionNode": "session.session_node",
    "Stream": "streaming",
    "best_continuations": "ranking",
    "best_fillings": "fill_ranking",
    "continue_score": "continuation",
    "rank_continuations": "ranking",
    "rank_fillings": "fill_ranking",
    "fill_score": "filling",
    "stream": "streaming",
}

__all__ = [
    "BarEnd",
    "Constraints",
    "Continuation",
    "ContinuationSettings",
    "Controls",
    "Filling",
    "Keep",
    "NewNote",
    "Ranking",
    "Request",
    "SamplingSettings",
    "Session",
    "SessionNode",
    "Stream",
    "best_continuations",
    "best_fillings",
    "continue_score",
    "fill_score",
    "rank_continuations",
    "rank_fillings",
    "stream",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
