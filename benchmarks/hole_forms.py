"""Compare forms of a hole's stream: equal training, then nats a note of held-out holes.

    python -m benchmarks.hole_forms STORE --steps 300 --json benchmarks/results/hole_forms.json

- `by bar`: what is given in a bar stands in front of what is to be written in it (the form in use);
- `given first`: what is given in the whole hole stands in front of its first bar;
- `given twice`: as `given first`, and again bar by bar;
- `last bar again`: as `by bar`, with the last bar of the prefix repeated in front of the hole.

Every form sees the same holes in the same order: one part to write, the others given, in windows of
12 bars. With `--model` training begins with the weights of a model, and else with new ones of a
small size.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import machine, rounded, write_report
from rwkv_music.data import Store, Windows
from rwkv_music.data.loading.completion_windows import Example
from rwkv_music.data.loading.packing import pack
from rwkv_music.evaluation.likelihood import model_nats
from rwkv_music.model import RWKV7, ModelConfig, MusicModel, initialize, load_model
from rwkv_music.ops.cross_entropy import completion_objective
from rwkv_music.tokenizer import BarIndex, Tokenizer, TokenType
from rwkv_music.tokenizer.holes import Hole, cut_hole
from rwkv_music.tokenizer.holes.write import HoleRuns, hole_runs

Form = Callable[[Hole, HoleRuns, Tokenizer], Example]
CONTEXT_BARS, HOLE_BARS = 8, 4
BATCH = 8


def by_bar(_hole: Hole, runs: HoleRuns, tokenizer: Tokenizer) -> Example:
    """The form in use."""
    return _example([(runs.opening, False)], zip(runs.given, runs.written, strict=True), tokenizer)


def given_first(_hole: Hole, runs: HoleRuns, tokenizer: Tokenizer) -> Example:
    """All that is given in front of FILL, and then the bars with what is to be written."""
    bar = np.array([tokenizer.vocabulary.BAR], dtype=np.uint16)
    bars = ((bar, written) for written in runs.written)
    return _example([(_opening_with_given(runs, tokenizer), False)], bars, tokenizer)


def given_twice(_hole: Hole, runs: HoleRuns, tokenizer: Tokenizer) -> Example:
    """All that is given in front of FILL, and again bar by bar."""
    bars = zip(runs.given, runs.written, strict=True)
    return _example([(_opening_with_given(runs, tokenizer), False)], bars, tokenizer)


def _opening_with_given(runs: HoleRuns, tokenizer: Tokenizer) -> np.ndarray:
    """Return the opening of a hole with all that is given in front of FILL."""
    vocabulary = tokenizer.vocabulary
    fill = int(np.flatnonzero(vocabulary.types_of(runs.opening) == TokenType.FILL)[-1])
    given = [run[run != vocabulary.WRITE] for run in runs.given]
    mark = np.array([vocabulary.GIVEN], dtype=np.uint16)
    events = np.concatenate([run[run != vocabulary.GIVEN] for run in given])
    return np.concatenate([runs.opening[:fill], mark, events, runs.opening[fill:]])


def last_bar_again(hole: Hole, runs: HoleRuns, tokenizer: Tokenizer) -> Example:
    """The form in use, with the last bar of the prefix again behind PREFIX."""
    vocabulary = tokenizer.vocabulary
    fill = int(np.flatnonzero(vocabulary.types_of(runs.opening) == TokenType.FILL)[-1])
    last = hole.prefix[int(np.flatnonzero(hole.prefix == vocabulary.BAR)[-1]) :]
    mark = np.array([vocabulary.PREFIX], dtype=np.uint16)
    opening = np.concatenate([runs.opening[:fill], mark, last, runs.opening[fill:]])
    return _example([(opening, False)], zip(runs.given, runs.written, strict=True), tokenizer)


FORMS: dict[str, Form] = {
    "by bar": by_bar, "given first": given_first, "given twice": given_twice,
    "last bar again": last_bar_again,
}  # fmt: skip


def _example(
    opening: list[tuple[np.ndarray, bool]],
    bars: Iterator[tuple[np.ndarray, np.ndarray]],
    tokenizer: Tokenizer,
) -> Example:
    """Join runs of tokens; what is to be written is scored, and the end of each bar."""
    runs = list(opening)
    for bar, (given, written) in enumerate(bars):
        runs += [(given[:1], bar > 0), (given[1:], False), (written, True)]
    runs.append((np.array([tokenizer.vocabulary.EOS], dtype=np.uint16), True))
    ids = np.concatenate([ids for ids, _ in runs])
    scored = np.concatenate([np.full(len(ids), is_scored) for ids, is_scored in runs])
    return Example(ids=ids, completion_start=int(scored.argmax()), scored=scored)


def holes(windows: Windows, seed: int) -> Iterator[Hole]:
    """Yield random holes of one part, endlessly."""
    rng = np.random.default_rng(seed)
    spans = windows.spans()
    while True:
        window = windows.example(spans[int(rng.integers(len(spans)))])
        index = BarIndex(window.ids, windows.tokenizer)
        if index.num_parts < 2 or index.num_bars < CONTEXT_BARS + HOLE_BARS:
            continue
        cells = np.zeros((HOLE_BARS, index.num_parts), dtype=bool)
        cells[:, rng.integers(index.num_parts)] = True
        yield cut_hole(index, CONTEXT_BARS // 2, cells, first=0, last=CONTEXT_BARS + HOLE_BARS)


def examples(windows: Windows, form: Form, seed: int) -> Iterator[Example]:
    """Yield holes in a form."""
    for hole in holes(windows, seed):
        yield form(hole, hole_runs(hole, windows.tokenizer.vocabulary), windows.tokenizer)


def new_network(vocab_size: int, seed: int) -> RWKV7:
    """Return a small network with new weights."""
    network = RWKV7(ModelConfig(vocab_size=vocab_size, num_layers=3, dim=128))
    initialize(network, seed=seed)
    return network


def train(
    network: RWKV7, windows: Windows, form: Form, *, steps: int, rate: float, seed: int
) -> MusicModel:
    """Train a network on holes in one form."""
    torch.manual_seed(seed)
    tokenizer = windows.tokenizer
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    stream = examples(windows, form, seed)
    for _ in range(steps):
        batch = pack([next(stream) for _ in range(BATCH)])
        hidden, _ = network.hidden(batch.tokens, None, resets=batch.resets)
        loss = completion_objective(
            hidden, network.head.weight, batch.targets, batch.completion_mask
        )
        optimizer.zero_grad()
        loss.objective.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return MusicModel(network.eval(), tokenizer.settings)


def nats_per_note(model: MusicModel, windows: Windows, form: Form, number: int) -> float:
    """Return the nats a note of held-out holes, the same ones for every form."""
    stream = examples(windows, form, seed=1)
    nats = notes = 0.0
    for window in model_nats(model, [next(stream) for _ in range(number)], batch_size=BATCH):
        targets, own, scored = window
        nats += float(own[scored].sum())
        notes += int((model.tokenizer.vocabulary.types_of(targets[scored]) == TokenType.DUR).sum())
    return nats / notes


def main() -> None:
    """Train each form with each seed, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--model", help="begin with its weights")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--holes", type=int, default=300, help="held-out holes")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    store = Store(given.store)
    bars = {"prompt_bars": CONTEXT_BARS, "completion_bars": HOLE_BARS}
    train_windows = Windows(store.train, store.tokenizer, **bars)
    held_out = Windows(store.valid, store.tokenizer, **bars)
    rows: list[dict[str, Any]] = []
    for seed in given.seeds:
        for name in given.forms:
            network = load_model(given.model).network if given.model else None
            model = train(
                network or new_network(store.tokenizer.vocab_size, seed),
                train_windows,
                FORMS[name],
                steps=given.steps,
                rate=given.rate,
                seed=seed,
            )
            nats = nats_per_note(model, held_out, FORMS[name], given.holes)
            rows.append({"form": name, "seed": seed, "nats_per_note": rounded(nats, 4)})
            print(rows[-1], flush=True)
    settings = {
        "store": given.store.name,
        "model": given.model,
        "steps": given.steps,
        "rate": given.rate,
        "holes": given.holes,
    }
    report = {"machine": machine("rwkv-music"), "settings": settings, "rows": rows}
    write_report(report, given.json)


if __name__ == "__main__":
    main()
