"""Evaluate models on sets of music: likelihood by layout, figures of continuations, copying."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rwkv_music.errors import InputError
from rwkv_music.evaluation.comparison.continuation_figures import continuation_figures
from rwkv_music.evaluation.comparison.evaluation_sets import (
    EvaluationSet,
    EvaluationWindow,
    windows_of,
)
from rwkv_music.evaluation.comparison.evaluation_settings import (
    COMPLETION_BARS,
    PROMPT_BARS,
    EvaluationSettings,
)
from rwkv_music.evaluation.comparison.figure_summary import RANDOM, TRUTH, figure_summary
from rwkv_music.evaluation.comparison.layouts import LAYOUTS
from rwkv_music.evaluation.comparison.long_continuations import long_continuation_figures
from rwkv_music.evaluation.comparison.passage import Passage, passage_of
from rwkv_music.evaluation.copying import CopyIndex
from rwkv_music.evaluation.held_out import HeldOut
from rwkv_music.model import MusicModel
from rwkv_music.score import bar_starts, take_bars
from rwkv_music.tokenizer import Tokenizer

if TYPE_CHECKING:
    import symusic

CONTINUED_LAYOUTS = ("as stored", "one piano")

OnProgress = Callable[[str], None]
OnCandidate = Callable[[str, str, "symusic.Score", int], None]
"""Called with set, model, score, and the tick at which the new bars begin."""


def evaluate_models(
    models: Mapping[str, MusicModel],
    sets: Sequence[EvaluationSet],
    *,
    settings: EvaluationSettings | None = None,
    copy_index: CopyIndex | None = None,
    on_progress: OnProgress = lambda _text: None,
    on_candidate: OnCandidate = lambda _set, _model, _score, _tick: None,
) -> dict[str, Any]:
    """Return the figures of models on sets of music, in JSON values.

    Args:
        models: Models by name, all with the same tokenizer.
        sets: The sets, encoded by that tokenizer.
        settings: How much is measured, and how continuations are sampled.
        copy_index: Index of the training pieces, to find copies of them.
        on_progress: Called with what is measured next.
        on_candidate: Called for each continuation.

    Returns:
        For each set its number of pieces; "likelihood" by layout and model; "continuations" by
        layout and row (truth, random control, models), each figure with mean, deviation and number.

    Raises:
        InputError: If the models have different tokenizers, or no set has a piece of five bars.
    """
    settings = settings or EvaluationSettings()
    tokenizer = _common_tokenizer(models)
    results: dict[str, Any] = {}
    for evaluated in sets:
        on_progress(f"{evaluated.name}: likelihood")
        likelihood = _likelihoods(models, evaluated, tokenizer, settings)
        if not likelihood:
            continue
        continued: dict[str, Any] = {}
        for layout in CONTINUED_LAYOUTS if settings.continuations else ():
            on_progress(f"{evaluated.name}: continuations, {layout}")
            run = _Continuations(models, tokenizer, settings, copy_index, on_candidate)
            if figures := run.figures(evaluated, layout):
                continued[layout] = figures
        results[evaluated.name] = {
            "pieces": len(evaluated.pieces),
            "likelihood": likelihood,
            "continuations": continued,
        }
        if settings.long_bars:
            on_progress(f"{evaluated.name}: {settings.long_bars} bars")
            drift = long_continuation_figures(models, evaluated, tokenizer, settings)
            results[evaluated.name]["long"] = drift
    if not results:
        raise InputError(
            f"no piece is longer than {PROMPT_BARS} bars: give music of at least "
            f"{PROMPT_BARS + 1} bars"
        )
    return results


def _common_tokenizer(models: Mapping[str, MusicModel]) -> Tokenizer:
    tokenizers = {name: model.tokenizer for name, model in models.items()}
    first, *others = tokenizers
    for other in others:
        if tokenizers[other].settings != tokenizers[first].settings:
            raise InputError(
                f"{first} and {other} have different tokenizers: evaluate them one by one"
            )
    return tokenizers[first]


def _likelihoods(
    models: Mapping[str, MusicModel],
    evaluated: EvaluationSet,
    tokenizer: Tokenizer,
    settings: EvaluationSettings,
) -> dict[str, Any]:
    """Return for each layout the windows and the figures of each model."""
    figures: dict[str, Any] = {}
    for layout in LAYOUTS:
        windows = windows_of(evaluated, layout, tokenizer, most=settings.windows)
        if not windows:
            continue
        held_out = HeldOut((window.example for window in windows), tokenizer)
        figures[layout] = {
            "windows": len(windows),
            "pieces": len({window.piece for window in windows}),
            "models": {
                name: held_out.likelihood(model).completion.figures()
                for name, model in models.items()
            },
        }
    return figures


class _Continuations:
    """Continues windows of a set and compares them with what follows in the pieces."""

    def __init__(
        self,
        models: Mapping[str, MusicModel],
        tokenizer: Tokenizer,
        settings: EvaluationSettings,
        copy_index: CopyIndex | None,
        on_candidate: OnCandidate,
    ) -> None:
        self._models = models
        self._tokenizer = tokenizer
        self._settings = settings
        self._copy_index = copy_index
        self._on_candidate = on_candidate

    def figures(self, evaluated: EvaluationSet, layout: str) -> dict[str, Any]:
        """Return the figures of each row; empty if no piece has twelve bars."""
        windows = windows_of(
            evaluated, layout, self._tokenizer, most=self._settings.continuations, full=True
        )
        scores = [self._tokenizer.decode(window.example.ids) for window in windows]
        passages = [_halves(score) for score in scores]
        rows: dict[str, list[dict[str, float]]] = {TRUTH: [], RANDOM: []}
        for index, (window, score) in enumerate(zip(windows, scores, strict=True)):
            prompt, truth = passages[index]
            other = passages[(index + len(passages) // 2) % len(passages)][1]
            if len(windows) > 1:
                rows[RANDOM].append(continuation_figures(prompt, other))
            rows[TRUTH].append(
                continuation_figures(prompt, truth) | self._copied(score, _line(score, PROMPT_BARS))
            )
            for name, figures in self._generated(evaluated.name, window, score, prompt, index):
                rows.setdefault(name, []).append(figures)
        return {name: figure_summary(row) for name, row in rows.items() if row}

    def _generated(
        self,
        set_name: str,
        window: EvaluationWindow,
        score: "symusic.Score",
        prompt: Passage,
        index: int,
    ) -> Iterator[tuple[str, dict[str, float]]]:
        from rwkv_music.generation import continue_score

        given = take_bars(score, 0, PROMPT_BARS)
        for name, model in self._models.items():
            [made] = continue_score(
                model,
                given,
                bars=COMPLETION_BARS,
                candidates=1,
                temperature=self._settings.temperature,
                top_p=self._settings.top_p,
                top_k=self._settings.top_k,
                seed=self._settings.seed + index,
            )
            start = made.continuation_start
            new = passage_of(made.score, start_tick=start, num_bars=COMPLETION_BARS)
            self._on_candidate(f"{set_name}, {window.piece}", name, made.score, start)
            yield name, continuation_figures(prompt, new) | self._copied(made.score, start)

    def _copied(self, score: "symusic.Score", start_tick: int) -> dict[str, float]:
        if self._copy_index is None:
            return {}
        run = self._copy_index.longest_shared_run(score, start_tick=start_tick)
        return {"longest_copied_run": float(run)}


def _halves(score: "symusic.Score") -> tuple[Passage, Passage]:
    """Return the prompt of a window and what follows."""
    return (
        passage_of(score, num_bars=PROMPT_BARS),
        passage_of(score, start_tick=_line(score, PROMPT_BARS), num_bars=COMPLETION_BARS),
    )


def _line(score: "symusic.Score", bar: int) -> int:
    return int(bar_starts(score)[bar])
