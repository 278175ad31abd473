"""Turn a finished run on the chorales into the shipped model and its card.

    python benchmarks/ship_model.py runs/bach

Writes into rwkv_music/models: bach.safetensors (bfloat16), bach.json (everything measured), and
README.md (the card). All figures are of the shipped weights, on the pieces the run held out.
"""

import argparse
import json
import platform
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rwkv_music.data.augmentation import transpose_ids
from rwkv_music.data.chorales import melody_of
from rwkv_music.data.dataset import Piece
from rwkv_music.data.melody import interval_runs
from rwkv_music.errors import InputError
from rwkv_music.evaluation import NGRAM_ORDER, Likelihood, NGramModel
from rwkv_music.evaluation.copying import CopyIndex
from rwkv_music.evaluation.statistics import (
    MusicStatistics,
    mean_statistics,
    music_statistics,
)
from rwkv_music.generation import continue_score
from rwkv_music.model import RWKV7, load_checkpoint, load_model, save_checkpoint
from rwkv_music.score import bar_starts, num_bars, take_bars
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.material import Material, prepare_material
from rwkv_music.training.run import RunDirectory

MODELS = Path(__file__).resolve().parents[1] / "rwkv_music" / "models"
CONTINUATIONS = 50
PROMPT_BARS = 4
NEW_BARS = 4
_KEYS = range(-6, 6)


def main() -> None:
    """Ship the best checkpoint of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", default="bach")
    given = parser.parse_args()
    run = RunDirectory(given.run)
    config = run.config()
    best = load_model(given.run)
    path = MODELS / f"{given.name}.safetensors"
    assert best.tokenizer_settings is not None
    facts = {"command": config["command"], "step": best.metadata["step"], "card": "README.md"}
    save_checkpoint(
        best, path, tokenizer_settings=best.tokenizer_settings, metadata=facts, dtype=torch.bfloat16
    )
    shipped = load_checkpoint(path)
    material = prepare_material(TrainingConfig.from_dict(config["config"]))
    facts = {
        **facts,
        "name": given.name,
        "weights_bytes": path.stat().st_size,
        "parameters": config["parameters"],
        "config": config["config"],
        "model": config["model"],
        "versions": config["versions"],
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "training_seconds": run.metrics()[-1]["elapsed_seconds"],
        "corpus": {k: v for k, v in config["corpus"].items() if k not in _LISTS},
        "valid_pieces": config["corpus"]["valid_pieces"],
        "likelihood": likelihoods(shipped, material),
        "shared_melody": longest_shared_melody(material),
        "music": continuation_figures(shipped, material),
    }
    (MODELS / f"{given.name}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    (MODELS / "README.md").write_text(card(facts) + "\n", encoding="utf-8")
    print(card(facts))


_LISTS = {"valid_pieces", "set_aside", "too_short"}


def likelihoods(model: RWKV7, material: Material) -> dict[str, dict[str, float]]:
    """Held-out completions under the model, and under n-gram models of the training pieces."""
    vocabulary = material.tokenizer.vocabulary
    plain = [piece.ids for piece in material.train_pieces]
    every_key = [transpose_ids(ids, key, vocabulary) for ids in plain for key in _KEYS]
    held_out = material.held_out()
    measured = {"model": held_out.likelihood(model).completion}
    for name, streams in (("5-gram", plain), ("5-gram, 12 keys", every_key)):
        ngram = NGramModel(streams, vocab_size=vocabulary.size, order=NGRAM_ORDER)
        measured[name] = held_out.ngram_likelihood(ngram).completion
    return {name: _row(found) for name, found in measured.items()}


def _row(found: Likelihood) -> dict[str, float]:
    return {
        "nats_per_token": round(found.nats_per_token, 4),
        "nats_per_note": round(found.nats_per_note, 4),
        "tokens": found.tokens,
        "notes": found.notes,
    }


def longest_shared_melody(material: Material) -> int:
    """Intervals in the longest run that a held-out soprano shares with a training one."""
    train = [melody_of(material.tokenizer.decode(piece.ids)) for piece in material.train_pieces]
    valid = [melody_of(material.tokenizer.decode(piece.ids)) for piece in material.valid_pieces]
    length = 1
    while True:
        seen = set().union(*(interval_runs(line, length) for line in train))
        if seen.isdisjoint(set().union(*(interval_runs(line, length) for line in valid))):
            return length - 1
        length += 1


def prompts(material: Material) -> Iterator[tuple[Piece, int]]:
    """Held-out pieces long enough, in corpus order, again with the next seed until there are 50."""
    bars = PROMPT_BARS + NEW_BARS
    usable = [
        piece
        for piece in material.valid_pieces
        if num_bars(material.tokenizer.decode(piece.ids)) >= bars
    ]
    for number in range(CONTINUATIONS):
        yield usable[number % len(usable)], number // len(usable)


def continuation_figures(model: RWKV7, material: Material) -> dict[str, Any]:
    """Figures over unselected continuations, beside those of what Bach wrote in the same bars."""
    decode = material.tokenizer.decode
    index = CopyIndex(decode(piece.ids) for piece in material.train_pieces)
    rows: dict[str, list[MusicStatistics]] = {"continuations": [], "held-out": []}
    runs: dict[str, list[int]] = {"continuations": [], "held-out": []}
    without_notes = 0
    for piece, seed in prompts(material):
        real = take_bars(decode(piece.ids), 0, PROMPT_BARS + NEW_BARS)
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
    for name, found in rows.items():
        copied = runs[name]
        figures[name] = {
            **{key: round(value, 3) for key, value in mean_statistics(found).items()},
            "longest_copied_run_median": float(np.median(copied)),
            "longest_copied_run_max": max(copied),
        }
    return figures


def card(facts: dict[str, Any]) -> str:
    """The model card."""
    likelihood = facts["likelihood"]
    best_floor = min(row["nats_per_note"] for name, row in likelihood.items() if name != "model")
    gain = 1 - likelihood["model"]["nats_per_note"] / best_floor
    config, corpus = facts["config"], facts["corpus"]
    music = facts["music"]
    likelihood_rows = "\n".join(
        f"| {name} | {row['nats_per_token']:.3f} | {row['nats_per_note']:.3f} |"
        for name, row in likelihood.items()
    )
    music_rows = "\n".join(
        f"| {key.replace('_', ' ')} | {value:.3g} | {music['held-out'][key]:.3g} |"
        for key, value in music["continuations"].items()
    )
    return reflowed(f"""# {facts["name"]}: a small RWKV-7 that continues four-part chorales

{facts["parameters"] / 1e6:.2f} million parameters ({config["num_layers"]} layers of
{config["width"]} channels), stored as bfloat16 in {facts["weights_bytes"] / 1e6:.1f} MB. Every
figure here was measured on the stored weights by `benchmarks/ship_model.py`, which also wrote this
page; `{facts["name"]}.json` beside it holds the settings and versions in full.

## How it was made

    {facts["command"]}

Seed {config["seed"]}, {config["steps"]} steps of {config["batch_size"]} windows (at most
{config["prompt_bars"]} prompt bars, {config["completion_bars"]} completion bars), best checkpoint
at step {facts["step"]}, {facts["training_seconds"] / 60:.0f} minutes on {facts["machine"]} of a
machine that did other work too. Windows are put into another key, tempo, loudness and instrument at
random.

## Data

{corpus["pieces_train"] + corpus["pieces_valid"]} four-part Bach chorales from the corpus of the
installed music21 {facts["versions"]["music21"]} (content hash {corpus["content_sha256"][:16]}),
{corpus["pieces_train"]} for training and {corpus["pieces_valid"]} held out. Settings of one tune
stand on one side: the longest run of soprano intervals that a held-out piece shares with a training
piece has {facts["shared_melody"]}. Bach's music is in the public domain. music21 distributes the
encodings with the permission of their encoders; some may not be used commercially, and none is part
of this project: the corpus is read on the user's machine. Ask about those terms before you use this
model's weights commercially.

The JSB Chorales data set holds the same repertoire: no figure on it can be quoted for this model.

## Likelihood of held-out completions

Completions of up to {config["completion_bars"]} bars after up to {config["prompt_bars"]} prompt
bars, in nats. The 5-gram models are interpolated (Witten-Bell) and read the same tokens at the same
positions; the second one has seen the training pieces in all twelve keys.

| | per token | per note |
|-|-|-|
{likelihood_rows}

That is {gain:.0%} fewer nats per note than the better 5-gram.

## What its continuations are like

{CONTINUATIONS} continuations of {NEW_BARS} bars, one after the other and none left out (temperature
1, top-p 0.95), of the first {PROMPT_BARS} bars of held-out pieces, beside what Bach wrote there.
The copied run is the longest run of notes in one part, by intervals and rhythm, that also stands in
a training piece.

| mean of | continuations | Bach |
|-|-|-|
{music_rows}

## What it cannot do

It knows chorales: four voices that move together, four or three quarters to a bar. A prompt in
another style is continued as if it were one. Its music keeps one loudness from beginning to end.
""")


def reflowed(text: str) -> str:
    """The same Markdown with its paragraphs broken anew; headings, tables and code stay."""
    blocks = text.split("\n\n")
    kept = ("#", "|", " ")
    return "\n\n".join(
        block if block.startswith(kept) else textwrap.fill(block, 100) for block in blocks
    )


if __name__ == "__main__":
    main()
