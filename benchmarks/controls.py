"""How well a model follows the controls of a hole, beside the same holes without them.

    python -m benchmarks.controls MODEL stores/pop909 --json controls.json

Each hole is asked for at a low, a middle and a high level of one control, and once without it.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import machine, rounded, write_report
from rwkv_music.data import Store
from rwkv_music.evaluation.infilling import HoleTask, hole_tasks
from rwkv_music.generation import Controls, fill_score
from rwkv_music.model import MusicModel, load_model
from rwkv_music.tokenizer.holes import measure_hole, split_hole
from rwkv_music.tokenizer.vocabulary import TokenType

LEVELS = {
    TokenType.DENSITY: (1, 3, 6),
    TokenType.POLYPHONY: (0, 2, 4),
    TokenType.REGISTER: (1, 3, 6),
    TokenType.LEAPS: (0, 2, 4),
    TokenType.SIMILARITY: (0, 1, 2),
}


def main() -> None:
    """Measure every control on the held-out pieces of each store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--holes", type=int, default=20)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    model = load_model(given.model)
    rows: list[dict[str, Any]] = []
    for path in given.stores:
        store = Store(path)
        tasks = hole_tasks(store.valid, store.tokenizer, bars=2, one_part=True, number=given.holes)
        for control in LEVELS:
            rows.append({"set": path.name, **measure(model, tasks, control)})
            print(rows[-1], flush=True)
    write_report({"machine": machine("rwkv-music"), "rows": rows}, given.json)


def measure(model: MusicModel, tasks: list[HoleTask], control: TokenType) -> dict[str, Any]:
    """Return how well one control is followed."""
    asked, got, free = [], [], []
    for seed, task in enumerate(tasks):
        for level in LEVELS[control]:
            controls = Controls(**{control.name.lower(): level})
            reached = reached_level(model, task, control, controls, seed)
            without = reached_level(model, task, control, None, seed)
            if reached is not None and without is not None:
                asked.append(level)
                got.append(reached)
                free.append(without)
    return {
        "control": control.name.lower(),
        "requests": len(asked),
        "rank_correlation": rounded(rank_correlation(asked, got), 3),
        "within_one_level": rounded(within_one(asked, got), 3),
        "within_one_level_without": rounded(within_one(asked, free), 3),
    }


def reached_level(
    model: MusicModel, task: HoleTask, control: TokenType, controls: Controls | None, seed: int
) -> int | None:
    """Return the level of what a model writes; None if it cannot be measured."""
    parts = list(task.tracks)
    (piece,) = fill_score(
        model, task.score, bars=task.bars, parts=parts, candidates=1, seed=seed, controls=controls
    )
    vocabulary = model.tokenizer.vocabulary
    levels = measure_hole(split_hole(piece.tokens, vocabulary), vocabulary)
    return levels.get(None, {}).get(control)


def rank_correlation(asked: list[int], got: list[int]) -> float:
    """Return Spearman's rank correlation, with mean ranks for ties."""
    ranks = [_mean_ranks(np.array(values)) for values in (asked, got)]
    return float(np.corrcoef(*ranks)[0, 1])


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    mean_ranks: np.ndarray = (ends - (counts - 1) / 2)[inverse]
    return mean_ranks


def within_one(asked: list[int], got: list[int]) -> float:
    """Return the share of requests whose result is at most one level off."""
    return float((np.abs(np.array(asked) - np.array(got)) <= 1).mean())


if __name__ == "__main__":
    main()
