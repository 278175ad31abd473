"""Which version of filled bars first: the one that makes the bars behind the hole likeliest.

A version that leads into the music behind it fits there. Where nothing follows, versions are ranked
as continuations are, by their statistics.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from rwkv_music.errors import InputError
from rwkv_music.generation.filling import fill_score
from rwkv_music.generation.hole_filling import Filling
from rwkv_music.generation.ranking import CONTEXT_BARS, distance
from rwkv_music.model import MusicModel
from rwkv_music.ops.cross_entropy import completion_nats
from rwkv_music.tokenizer import BarIndex, TokenType

BARS_BEHIND = 2
"""Bars behind the hole whose likelihood counts."""


def rank_fillings(model: MusicModel, pieces: Sequence[Filling]) -> list[Filling]:
    """Discard silent and identical versions of one hole, and sort the others, the best first.

    Args:
        model: The model that judges, such as the one that filled.
        pieces: Versions of the same bars and parts.

    Example:
        >>> pieces = fill_score(model, "song.mid", bars=(5, 8), candidates=8)  # doctest: +SKIP
        >>> best = rank_fillings(model, pieces)[:3]  # doctest: +SKIP
    """
    different = {piece.tokens.tobytes(): piece for piece in reversed(pieces)}
    usable = [piece for piece in reversed(different.values()) if piece.new.note_num()]
    return sorted(usable, key=lambda piece: _cost(model, piece))


def best_fillings(
    model: MusicModel,
    score: Any,  # noqa: ANN401 - whatever to_score takes
    *,
    candidates: int = 3,
    draw: int = 8,
    **settings: Any,  # noqa: ANN401 - those of fill_score
) -> list[Filling]:
    """Fill a score in more versions than asked for, and return the best of them in order.

    Args:
        model: A model that was trained with holes.
        score: The score, as for `fill_score`.
        candidates: Versions to return; fewer if too many are silent or identical.
        draw: Versions to generate, at least `candidates`.
        settings: Further arguments of `fill_score`, with the bars to fill.

    Raises:
        InputError: If `draw` is below `candidates`, or as `fill_score`.
    """
    if draw < candidates:
        raise InputError(f"draw must be at least candidates ({candidates}), got {draw}")
    pieces = fill_score(model, score, candidates=draw, **settings)
    return rank_fillings(model, pieces)[:candidates]


def _cost(model: MusicModel, piece: Filling) -> float:
    """Return a number that is lower for better versions of the same hole."""
    from rwkv_music.score import bar_starts, take_bars

    lines = bar_starts(piece.score)
    first, last = np.searchsorted(lines, [piece.continuation_start, piece.end]).tolist()
    nats = _nats_behind(model, piece, first, last)
    if nats is not None:
        return nats
    if first == 0:
        return 0.0
    context = take_bars(piece.score, max(0, first - CONTEXT_BARS), first)
    return distance(context, take_bars(piece.score, first, last))


def _nats_behind(model: MusicModel, piece: Filling, first: int, last: int) -> float | None:
    """Return the nats of the first bars behind the hole; None where no note follows."""
    tokenizer = model.tokenizer
    index = BarIndex(tokenizer.encode(piece.score), tokenizer)
    if index.num_bars <= last:
        return None
    stop = min(index.num_bars, last + BARS_BEHIND)
    window = index.window(max(0, first - CONTEXT_BARS), stop, completion_bar=last)
    scored = torch.zeros(1, len(window.ids) - 1, dtype=torch.bool)
    scored[0, window.completion_start :] = True  # the targets behind the BAR, which is certain
    if TokenType.DUR not in tokenizer.vocabulary.types_of(window.ids[window.completion_start :]):
        return None
    ids = torch.from_numpy(window.ids.astype(np.int64))[None].to(model.device)
    network = model.network.eval()
    with torch.inference_mode():
        hidden, _ = network.hidden(ids[:, :-1], None)
        nats = completion_nats(hidden, network.head.weight, ids[:, 1:], scored.to(model.device))
    return float(nats.double().sum())
