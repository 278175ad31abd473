"""What two parts of RWKV-8 do for music: DeepEmbed and Emb(ROSA(x)), beside the plain model.

    python -m benchmarks.rwkv8 bach --runs runs.jsonl
    python -m benchmarks.rwkv8 POP909 --runs runs.jsonl
    python -m benchmarks.rwkv8 bach POP909 --runs runs.jsonl --json benchmarks/results/rwkv8.json

A finished run is one line of the file; runs that stand there are not made again, and with `--json`
none is made. All variants of a seed begin with the same weights where they share them and read the
same batches. POP909 is a folder
of that set with an alignment.csv of its beats: each song is moved onto its bars, which the files
themselves do not tell.
"""

import argparse
import csv
import itertools
import json
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import alternate, machine, rounded, time_ratio, write_report
from rwkv_music.data import Corpus, Windows, collate, load_corpus, split_corpus
from rwkv_music.data.augmentation import RandomAugmentation
from rwkv_music.data.dataset import Piece
from rwkv_music.data.sampler import BatchStream
from rwkv_music.evaluation import HeldOut
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.model.rosa import NONE, followers
from rwkv_music.score import load_score
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.trainer import Trainer

SEEDS = (0, 1, 2)
VARIANTS: dict[str, dict[str, bool]] = {
    "plain": {},
    "DeepEmbed": {"deep_embedding": True},
    "ROSA": {"rosa": True},
    "both": {"deep_embedding": True, "rosa": True},
}
ALIGNMENT = "alignment.csv"
SIZES: dict[str, Any] = {"num_layers": 3, "width": 192}
BATCH = 4
MOST_SONGS = 320
MOST_VALID_WINDOWS = 160
SAME_TUNES = frozenset({"018.mid", "666.mid", "805.mid"})
"""Songs of POP909 that stand there a second time, under another number."""
Line = dict[str, Any]


def main() -> None:
    """Make the runs of one corpus, or the report of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+", help="'bach' or the folder of POP909")
    parser.add_argument("--runs", type=Path, required=True, help="where finished runs are kept")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS)[:3])
    parser.add_argument("--tokens", type=int, default=1_200_000, help="real tokens in a run")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = Tokenizer()
    corpora = [corpus_of(source, tokenizer) for source in given.sources]
    if given.json is not None:
        write_report(report(lines_of(given.runs), corpora, tokenizer), given.json)
        return
    for corpus in corpora:
        make_runs(corpus, tokenizer, given.variants, given.tokens, given.runs)


def corpus_of(source: str, tokenizer: Tokenizer) -> Corpus:
    """The chorales, or POP909 on its bars."""
    return load_corpus(source, tokenizer) if source == "bach" else pop909(Path(source), tokenizer)


def make_runs(
    corpus: Corpus, tokenizer: Tokenizer, variants: list[str], tokens: int, path: Path
) -> None:
    """Train and measure what is not yet in the file, seed by seed."""
    done = {(*key_of(line), line["seed"]) for line in lines_of(path)}
    for seed in SEEDS:
        for variant in variants:
            if (corpus.name, tokens, variant, seed) not in done:
                line = run(corpus, tokenizer, variant, seed, tokens)
                with path.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(line) + "\n")
                print(line, flush=True)


def pop909(folder: Path, tokenizer: Tokenizer) -> Corpus:
    """Songs of one tempo and steady beats, each moved so that its bars begin on its downbeats."""
    with (folder / ALIGNMENT).open(encoding="utf-8", newline="") as rows:
        steady = [
            row
            for row in csv.DictReader(rows)
            if row["n_tempos"] == "1"
            and float(row["beats_on_that_phase"]) == 1
            and row["file"] not in SAME_TUNES
        ]
    pieces = []
    for row in steady[:MOST_SONGS]:
        score = load_score(folder / row["file"])
        beats = int(row["downbeat_period"])
        bar = beats * score.ticks_per_quarter
        first = int(row["first_downbeat_tick"]) * score.ticks_per_quarter
        score = score.shift_time(-(first // int(row["ticks_per_quarter"])) % bar)
        for each in score.tempos:
            each.time = 0
        signature = type(score.time_signatures[0])
        score.time_signatures = [signature(0, beats, 4)]
        pieces.append(Piece(row["file"], tokenizer.encode(score), group=row["file"]))
    return Corpus("pop909", tuple(pieces), tokenizer.settings)


def run(corpus: Corpus, tokenizer: Tokenizer, variant: str, seed: int, tokens: int) -> Line:
    """Train one model and measure it on the pieces held out."""
    train, valid = (
        Windows(pieces, tokenizer, prompt_bars=4, completion_bars=8)
        for pieces in split_corpus(corpus)
    )

    def batches() -> BatchStream:
        changed = RandomAugmentation(vocabulary=tokenizer.vocabulary)
        return BatchStream(train, batch_size=BATCH, seed=seed, augment=changed)

    steps, real = 0, 0
    for batch in batches():
        steps, real = steps + 1, real + int((batch.tokens != 0).sum())
        if real >= tokens:
            break
    config = TrainingConfig(
        corpus=corpus.name,
        out="",
        seed=seed,
        steps=steps,
        batch_size=BATCH,
        precision="bfloat16",
        **SIZES,
    )
    torch.manual_seed(seed)
    model = new_model(tokenizer, variant, seed, config.dropout)
    wall, processor = time.perf_counter(), time.process_time()
    losses = []
    for step in Trainer(model, batches(), config):
        losses.append(step.loss_train)
        if step.step % 50 == 0:
            mean = statistics.mean(losses[-50:])
            print(f"{corpus.name}, {variant}, seed {seed}, step {step.step}/{steps}: {mean:.3f}")
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    every = -(-len(valid) // MOST_VALID_WINDOWS)
    measured = HeldOut(list(valid)[::every], tokenizer).likelihood(model).completion
    return {
        "corpus": corpus.name,
        "content_sha256": corpus.content_hash,
        "variant": variant,
        "seed": seed,
        "parameters": sum(each.numel() for each in model.parameters()),
        "steps": steps,
        "tokens": real,
        "pieces_train": len(train.pieces),
        "pieces_valid": len(valid.pieces),
        "tokens_scored": measured.tokens,
        "notes_scored": measured.notes,
        "nats_per_token": rounded(measured.nats_per_token, 6),
        "nats_per_note": rounded(measured.nats_per_note, 6),
        "loss_train": rounded(statistics.mean(losses[-50:]), 6),
        "seconds": rounded(wall),
        "processor_microseconds_per_token": rounded(processor / real * 1e6),
        "machine": machine(),
    }


def new_model(tokenizer: Tokenizer, variant: str, seed: int, dropout: float) -> RWKV7:
    """A fresh model; what two variants share begins alike."""
    model = RWKV7(
        ModelConfig(vocab_size=tokenizer.vocab_size, dropout=dropout, **SIZES, **VARIANTS[variant])
    )
    initialize(model, seed=seed)
    return model


def lines_of(path: Path) -> list[Line]:
    """The runs finished so far."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def key_of(line: Line) -> tuple[str, int, str]:
    """What the seeds of one row have in common: corpus, tokens asked for, variant."""
    return line["corpus"], round(line["tokens"], -5), line["variant"]


def report(lines: list[Line], corpora: list[Corpus], tokenizer: Tokenizer) -> Line:
    """Each variant on each corpus, and what it gains over the plain model of the same seed."""
    plain = {(*key_of(line), line["seed"]): line for line in lines}
    rows = []
    for corpus, tokens, variant in dict.fromkeys(map(key_of, lines)):
        mine = [line for line in lines if key_of(line) == (corpus, tokens, variant)]
        pairs = [(line, plain[corpus, tokens, "plain", line["seed"]]) for line in mine]
        row = {"corpus": corpus, "tokens": tokens, "variant": variant, "seeds": len(mine)}
        row["parameters"] = mine[0]["parameters"]
        for unit in ("nats_per_note", "nats_per_token", "loss_train"):
            row[unit] = rounded(statistics.mean(line[unit] for line in mine), 5)
            more = [rounded(line[unit] - base[unit], 3) for line, base in pairs]
            row[f"{unit}_over_plain"] = more
        rows.append(row)
    return {
        "settings": {**SIZES, "batch_size": BATCH, "precision": "bfloat16"},
        "machine": lines[0]["machine"],
        "rows": rows,
        "followers": {corpus.name: follower_shares(corpus, tokenizer) for corpus in corpora},
        "step_time_over_plain": step_times(),
        "runs": [{key: value for key, value in line.items() if key != "machine"} for line in lines],
    }


def follower_shares(corpus: Corpus, tokenizer: Tokenizer) -> dict[str, float]:
    """How often ROSA names a token at all, and the right one, for the completions held out."""
    found = []
    for example in Windows(split_corpus(corpus)[1], tokenizer, prompt_bars=4, completion_bars=8):
        batch = collate([example])
        named = followers(batch.tokens)[0][batch.completion_mask]
        found.append(torch.stack([named != NONE, named == batch.targets[batch.completion_mask]]))
    there, right = torch.cat(found, dim=1).double().mean(1).tolist()
    return {"named": rounded(there), "right": rounded(right)}


def step_times() -> dict[str, dict[str, float]]:
    """Time of a training step over the plain model's, on one batch of chorales, in turns."""
    tokenizer = Tokenizer()
    corpus = load_corpus("bach", tokenizer)
    windows = Windows(split_corpus(corpus)[0], tokenizer, prompt_bars=4, completion_bars=8)
    batch = next(BatchStream(windows, batch_size=BATCH, seed=0))
    config = TrainingConfig(corpus="bach", out="", precision="bfloat16", **SIZES)
    trainers = {}
    for variant in VARIANTS:
        model = new_model(tokenizer, variant, seed=0, dropout=config.dropout)
        trainers[variant] = Trainer(model, itertools.repeat(batch), config)
    contestants = {name: partial(trainer.step, 1, [batch]) for name, trainer in trainers.items()}
    times = alternate(contestants, repeats=15)
    return {name: time_ratio(timing, times["plain"]) for name, timing in times.items()}


if __name__ == "__main__":
    main()
