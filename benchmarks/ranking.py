"""Show whether the candidate that is ranked first is nearer to the truth than a random one.

    python -m benchmarks.ranking general stores/* --json benchmarks/results/ranking.json

Prompts are windows of held-out pieces; the truth is what stands there. "Random" is the mean over
all candidates drawn. Nearness is measured by the statistics that continuations are ranked by, and
by a judge that no ranking knows: the notes in common (F1 of sixteenth and pitch, and of the
sixteenths alone) and the similarity of the pitch classes beat by beat. Intervals are those of a
paired bootstrap over the prompts.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import symusic

from benchmarks.measuring import machine, rounded, write_report
from rwkv_music.data import Store
from rwkv_music.evaluation.infilling import CONTEXT_BARS, HoleTask, hole_tasks, notes_in
from rwkv_music.evaluation.infilling_figures import compare
from rwkv_music.generation import continue_score, fill_score, rank_continuations, rank_fillings
from rwkv_music.generation.ranking import distance
from rwkv_music.model import MusicModel, load_model
from rwkv_music.score import bar_starts, take_bars
from rwkv_music.tokenizer import BarIndex

PROMPT_BARS = 8
_RESAMPLES = 10_000
_JUDGES = ("note_f1", "onset_f1", "chroma_similarity")
Figures = dict[str, float]


def main() -> None:
    """Measure continuations and holes on all stores."""
    given = arguments()
    model = load_model(given.model)
    rows = []
    for kind, measured in (
        ("continuations", continuations(model, given)),
        ("holes", holes(model, given)),
    ):
        by_set: dict[str, list[tuple[Figures, Figures]]] = {}
        for name, first, random in measured:
            by_set.setdefault(name, []).append((first, random))
        everything = [pair for pairs in by_set.values() for pair in pairs]
        for name, pairs in {"all": everything, **by_set}.items():
            rows.append({"kind": kind, "set": name, "prompts": len(pairs), **summary(pairs)})
    settings = {name: getattr(given, name) for name in ("model", "candidates", "prompts", "bars")}
    write_report({"machine": machine("rwkv-music"), "settings": settings, "rows": rows}, given.json)


def arguments() -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--prompts", type=int, default=30, help="of each kind and store, at most")
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--bars", type=int, default=4, help="to continue by; holes have half")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def continuations(
    model: MusicModel, given: argparse.Namespace
) -> Iterator[tuple[str, Figures, Figures]]:
    """Yield the set's name, the figures of the first continuation, and the mean of all."""
    for path in given.stores:
        for seed, task in enumerate(continuation_tasks(path, given)):
            prompt = take_bars(task.score, 0, PROMPT_BARS)
            pieces = continue_score(
                model, prompt, bars=given.bars, candidates=given.candidates, seed=100 * seed
            )
            ranked = rank_continuations(pieces).pieces
            if ranked and all(piece.continuation_start == task.span[0] for piece in pieces):
                truth = take_bars(task.score, PROMPT_BARS, PROMPT_BARS + given.bars)
                rows = [
                    {**judged(task, piece.score), "distance": distance(truth, piece.new)}
                    for piece in (ranked[0], *pieces)
                ]
                yield path.name, rows[0], mean(rows[1:])


def continuation_tasks(path: Path, given: argparse.Namespace) -> list[HoleTask]:
    """Return windows whose last bars are to be written, evenly spaced over the held-out pieces."""
    store = Store(path)
    length = PROMPT_BARS + given.bars
    indices = [BarIndex(piece.ids, store.tokenizer) for piece in store.valid]
    places = [
        (index, start)
        for index in indices
        for start in range(0, index.num_bars - length + 1, length)
    ]
    chosen = np.linspace(0, len(places) - 1, min(len(places), given.prompts)).astype(int)
    tasks = []
    for index, start in (places[i] for i in chosen):
        score = store.tokenizer.decode(index.window(start, start + length).ids)
        if len(bar_starts(score)) <= length:
            continue
        task = HoleTask(score, (PROMPT_BARS + 1, length), tuple(range(len(score.tracks))))
        if any(len(notes.onsets) for notes in task.truth().values()):
            tasks.append(task)
    return tasks


def holes(model: MusicModel, given: argparse.Namespace) -> Iterator[tuple[str, Figures, Figures]]:
    """Yield the set's name, the figures of the first filling, and the mean of all."""
    for path in given.stores:
        tasks = [*tasks_of_holes(path, given, 1), *tasks_of_holes(path, given, 2)]
        for seed, task in enumerate(tasks):
            pieces = fill_score(
                model,
                task.score,
                bars=task.bars,
                parts=list(task.tracks),
                candidates=given.candidates,
                seed=100 * seed,
            )
            rows = [
                judged(task, piece.score) for piece in (rank_fillings(model, pieces)[0], *pieces)
            ]
            yield path.name, rows[0], mean(rows[1:])


def tasks_of_holes(path: Path, given: argparse.Namespace, fewest_parts: int) -> list[HoleTask]:
    """Return holes of all parts of held-out pieces, or of one part of pieces with more."""
    store = Store(path)
    bars = max(1, given.bars // 2)
    pieces = []
    for piece in store.valid:
        index = BarIndex(piece.ids, store.tokenizer)
        if index.num_parts >= fewest_parts and index.num_bars >= bars + 2 * CONTEXT_BARS:
            pieces.append(piece)
    number = max(1, given.prompts // 2)
    if not pieces:
        return []
    return hole_tasks(pieces, store.tokenizer, bars=bars, one_part=fewest_parts > 1, number=number)


def judged(task: HoleTask, score: "symusic.Score") -> Figures:
    """Return the figures of what was written, by a judge that knows nothing of the ranking."""
    start, end = task.span
    written = {track: notes_in(score, track, start, end) for track in task.tracks}
    drums = [index for index, track in enumerate(task.score.tracks) if track.is_drum]
    figures = compare(
        task.truth(), written, end - start, task.score.ticks_per_quarter, math.nan, drums=drums
    )
    return {name: getattr(figures, name) for name in _JUDGES}


def mean(rows: Sequence[Figures]) -> Figures:
    """Return the mean of each figure."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def summary(pairs: Sequence[tuple[Figures, Figures]]) -> dict[str, Any]:
    """Return the means of each figure, and the interval of the difference, for all prompts."""
    return {
        name: paired(np.array([(first[name], random[name]) for first, random in pairs]))
        for name in pairs[0][0]
    }


def paired(values: np.ndarray) -> dict[str, Any]:
    """Return the means of both columns, and a 95 % interval of their difference.

    Args:
        values: First and random of each prompt; those without a figure are left out.
    """
    values = values[~np.isnan(values).any(axis=1)]
    if not len(values):
        return {"prompts": 0}
    differences = values[:, 0] - values[:, 1]
    chosen = np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))
    low, high = np.quantile(differences[chosen].mean(axis=1), [0.025, 0.975])
    return {
        "prompts": len(values),
        "first": rounded(values[:, 0].mean()),
        "random": rounded(values[:, 1].mean()),
        "difference": rounded(differences.mean(), 3),
        "interval": [rounded(low, 3), rounded(high, 3)],
    }


if __name__ == "__main__":
    main()
