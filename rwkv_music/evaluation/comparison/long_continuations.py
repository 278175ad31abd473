"""Drift of long continuations: their last eight bars beside their first eight."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rwkv_music.data.pieces import Piece
from rwkv_music.evaluation.comparison.continuation_figures import continuation_figures
from rwkv_music.evaluation.comparison.evaluation_sets import EvaluationSet
from rwkv_music.evaluation.comparison.evaluation_settings import (
    COMPLETION_BARS,
    PROMPT_BARS,
    EvaluationSettings,
)
from rwkv_music.evaluation.comparison.figure_summary import TRUTH, figure_summary
from rwkv_music.evaluation.comparison.passage import passage_of
from rwkv_music.model import MusicModel
from rwkv_music.score import bar_starts, take_bars
from rwkv_music.tokenizer import Tokenizer

if TYPE_CHECKING:
    import symusic

FIRST, LAST = "first", "last"

Rows = dict[str, list[dict[str, float]]]


def long_continuation_figures(
    models: Mapping[str, MusicModel],
    evaluated: EvaluationSet,
    tokenizer: Tokenizer,
    settings: EvaluationSettings,
) -> dict[str, Any]:
    """Return the figures of the first and last eight bars of long continuations.

    Args:
        models: Models by name.
        evaluated: The set; the beginnings of its pieces that are long enough are continued.
        tokenizer: The tokenizer of the models.
        settings: How long and how many they are, and how they are sampled.

    Returns:
        "first" and "last", each with a row for the truth and each model; empty if no piece is long
        enough.
    """
    from rwkv_music.generation import continue_score

    rows: dict[str, Rows] = {FIRST: {}, LAST: {}}
    for index, score in enumerate(_long_scores(evaluated, tokenizer, settings)):
        given = take_bars(score, 0, PROMPT_BARS)
        _add(rows, TRUTH, score, int(bar_starts(score)[PROMPT_BARS]), settings.long_bars)
        for name, model in models.items():
            [made] = continue_score(
                model,
                given,
                bars=settings.long_bars,
                candidates=1,
                temperature=settings.temperature,
                top_p=settings.top_p,
                top_k=settings.top_k,
                seed=settings.seed + index,
            )
            _add(rows, name, made.score, made.continuation_start, settings.long_bars)
    return {
        half: {name: figure_summary(figures) for name, figures in of_half.items()}
        for half, of_half in rows.items()
        if of_half
    }


def _long_scores(
    evaluated: EvaluationSet, tokenizer: Tokenizer, settings: EvaluationSettings
) -> "Iterator[symusic.Score]":
    bars = PROMPT_BARS + settings.long_bars
    usable: list[Piece] = [
        piece for piece in evaluated.pieces if tokenizer.num_bars(piece.ids) >= bars
    ]
    num_pieces = min(len(usable), settings.long_continuations)
    for index in np.linspace(0, len(usable) - 1, num_pieces).round().astype(int).tolist():
        score = take_bars(tokenizer.decode(usable[index].ids), 0, bars)
        if take_bars(score, 0, PROMPT_BARS).note_num():
            yield score


def _add(
    rows: dict[str, Rows], name: str, score: "symusic.Score", start_tick: int, num_bars: int
) -> None:
    prompt = passage_of(score, num_bars=PROMPT_BARS)
    whole = passage_of(score, start_tick=start_tick, num_bars=num_bars)
    for half, first_bar in ((FIRST, 0), (LAST, num_bars - COMPLETION_BARS)):
        bars = whole.take_bars(first_bar, first_bar + COMPLETION_BARS)
        rows[half].setdefault(name, []).append(continuation_figures(prompt, bars))
