"""Turn a finished run into a shipped model and its card.

    python -m benchmarks.ship_model runs/bach --name bach
    python -m benchmarks.ship_model runs/pop --name pop

Writes into rwkv_music/models, of the model `bach`: bach.safetensors (bfloat16), bach.json
(everything measured), and bach.md (the card). All figures are of the shipped weights, on the pieces
the run held out. With `--card` the card alone is written anew, from the figures that are there.
"""

import argparse
import json
import platform
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.model_card import ABOUT, card
from rwkv_music.data.augmentation import transpose_ids
from rwkv_music.data.corpora.chorales import melody_of
from rwkv_music.data.corpora.melody_groups import interval_runs
from rwkv_music.data.pieces import Piece
from rwkv_music.errors import InputError
from rwkv_music.evaluation import NGRAM_ORDER, Likelihood, NGramModel, RepetitionModel
from rwkv_music.evaluation.copying import CopyIndex
from rwkv_music.evaluation.statistics import (
    MusicStatistics,
    mean_statistics,
    music_statistics,
)
from rwkv_music.generation import continue_score
from rwkv_music.model import MusicModel, load_checkpoint, load_model, save_checkpoint
from rwkv_music.score import bar_starts, num_bars, take_bars
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.data_module import DataModule
from rwkv_music.training.run.directory import RunDirectory

MODELS = Path(__file__).resolve().parents[1] / "rwkv_music" / "models"
CONTINUATIONS = 50
PROMPT_BARS = 4
NEW_BARS = 4
_KEYS = range(-6, 6)
_MOST_COUNTED = 20_000_000
"""Tokens; counting the n-grams of more takes too much memory."""


def main() -> None:
    """Ship the best checkpoint of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--name", choices=ABOUT, required=True)
    parser.add_argument("--card", action="store_true", help="only write the card again")
    given = parser.parse_args()
    written = MODELS / f"{given.name}.json"
    if not given.card:
        record = ship(given.run, given.name)
        written.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    text = card(json.loads(written.read_text(encoding="utf-8"))) + "\n"
    (MODELS / f"{given.name}.md").write_text(text, encoding="utf-8")
    print(text)


def ship(folder: Path, name: str) -> dict[str, Any]:
    """Store the best checkpoint of a run as the shipped model, and measure that."""
    run = RunDirectory(folder)
    config = run.config()
    best = load_model(folder)
    path = MODELS / f"{name}.safetensors"
    record = {"command": config["command"], "step": best.metadata["step"], "card": f"{name}.md"}
    save_checkpoint(replace(best, metadata=record), path, dtype=torch.bfloat16)
    shipped = load_checkpoint(path)
    data = DataModule.from_config(TrainingConfig.from_dict(config["config"]))
    return {
        **record,
        "name": name,
        "weights_bytes": path.stat().st_size,
        "parameters": config["parameters"],
        "config": config["config"],
        "model": config["model"],
        "versions": config["versions"],
        "machine": f"{platform.machine()}, {threads_in_words(config['threads'])}",
        "training_seconds": run.metrics()[-1]["elapsed_seconds"],
        "sessions": len(config["sessions"]),
        "corpus": {k: v for k, v in config["corpus"].items() if k not in _LISTS},
        "valid_pieces": config["corpus"]["valid_pieces"],
        "likelihood": likelihoods(shipped, data),
        "shared_melody": longest_shared_melody(data) if name == "bach" else None,
        "asked": {
            "continuations": CONTINUATIONS,
            "prompt_bars": PROMPT_BARS,
            "new_bars": NEW_BARS,
        },
        "music": continuation_figures(shipped, data, first_bar=ABOUT[name].first_bar),
    }


def threads_in_words(num_threads: int) -> str:
    """E.g. "1 thread"."""
    return f"{num_threads} thread" if num_threads == 1 else f"{num_threads} threads"


_LISTS = {"valid_pieces", "skipped", "too_short"}


def likelihoods(model: MusicModel, data: DataModule) -> dict[str, dict[str, float]]:
    """Held-out completions under the model, and under n-gram models of the training pieces."""
    vocabulary = data.tokenizer.vocabulary
    plain = [piece.ids for piece in data.train_pieces]
    held_out = data.held_out()
    measured = {"model": held_out.likelihood(model).completion}
    ngram = partial(NGramModel, vocab_size=vocabulary.size, order=NGRAM_ORDER)
    baselines: dict[str, NGramModel | RepetitionModel] = {
        "unigram": ngram(plain, order=1),
        "5-gram": (five := ngram(plain)),
        "5-gram, copying": RepetitionModel(five),
    }
    if len(_KEYS) * sum(map(len, plain)) <= _MOST_COUNTED:
        in_keys = [transpose_ids(ids, key, vocabulary) for ids in plain for key in _KEYS]
        baselines["5-gram, 12 keys"] = ngram(in_keys)
    for name, baseline in baselines.items():
        measured[name] = held_out.ngram_likelihood(baseline).completion
    return {name: _row(likelihood) for name, likelihood in measured.items()}


def _row(likelihood: Likelihood) -> dict[str, float]:
    return {
        "nats_per_token": round(likelihood.nats_per_token, 4),
        "nats_per_note": round(likelihood.nats_per_note, 4),
        "tokens": likelihood.tokens,
        "notes": likelihood.notes,
    }


def longest_shared_melody(data: DataModule) -> int:
    """Intervals in the longest run that a held-out soprano shares with a training one."""
    train = [melody_of(data.tokenizer.decode(piece.ids)) for piece in data.train_pieces]
    valid = [melody_of(data.tokenizer.decode(piece.ids)) for piece in data.valid_pieces]
    length = 1
    while True:
        seen = set().union(*(interval_runs(line, length) for line in train))
        if seen.isdisjoint(set().union(*(interval_runs(line, length) for line in valid))):
            return length - 1
        length += 1


def prompts(data: DataModule, bars: int) -> Iterator[tuple[Piece, int]]:
    """Held-out pieces of so many bars, in corpus order, again with the next seed until enough."""
    usable = [
        piece for piece in data.valid_pieces if num_bars(data.tokenizer.decode(piece.ids)) >= bars
    ]
    for index in range(CONTINUATIONS):
        yield usable[index % len(usable)], index // len(usable)


def continuation_figures(model: MusicModel, data: DataModule, *, first_bar: int) -> dict[str, Any]:
    """Figures over unselected continuations, beside those of the pieces in the same bars."""
    decode = data.tokenizer.decode
    index = CopyIndex(decode(piece.ids) for piece in data.train_pieces)
    rows: dict[str, list[MusicStatistics]] = {"continuations": [], "held-out": []}
    runs: dict[str, list[int]] = {"continuations": [], "held-out": []}
    without_notes = 0
    last_bar = first_bar + PROMPT_BARS + NEW_BARS
    for piece, seed in prompts(data, last_bar):
        real = take_bars(decode(piece.ids), first_bar, last_bar)
        prompt = take_bars(real, 0, PROMPT_BARS)
        made = continue_score(model, prompt, bars=NEW_BARS, candidates=1, seed=seed)[0]
        for name, score in (("continuations", made.score), ("held-out", real)):
            seam = int(bar_starts(score)[PROMPT_BARS])
            try:
                row = music_statistics(score, start_tick=seam, num_bars=NEW_BARS)
            except InputError:
                without_notes += 1
                continue
            rows[name].append(row)
            runs[name].append(index.longest_shared_run(score, start_tick=seam))
    figures: dict[str, Any] = {"without_notes": without_notes}
    for name, scores in rows.items():
        copied = runs[name]
        figures[name] = {
            **{key: round(value, 3) for key, value in mean_statistics(scores).items()},
            "longest_copied_run_median": float(np.median(copied)),
            "longest_copied_run_max": max(copied),
        }
    return figures


if __name__ == "__main__":
    main()
