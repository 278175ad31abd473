r"""What training with `--carry-state` teaches: three ways to read the same pieces, compared.

    python -m benchmarks.carried_state FOLDER --runs runs \
        --json benchmarks/results/carried_state.json

The same model, seed, steps and nearly the same tokens a step; read as windows, as spans of
whole pieces with the state reset, and as spans with the state carried. Only the last two differ in
nothing but the state: windows also score their completions alone. Each run is a run directory; one
that exists is resumed, or measured if it is finished.
"""

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.long_context import held_out_texts
from benchmarks.measuring import machine, rounded, write_report
from rwkv_music.data import Batch, load_corpus
from rwkv_music.data.loading.long_context_loader import LongContextLoader
from rwkv_music.evaluation.long_context import LENGTHS, long_context
from rwkv_music.model import load_model
from rwkv_music.training import TrainingConfig, train
from rwkv_music.training.run.directory import RunDirectory

WAYS = {
    "windows": "windows",
    "anew": "spans, state reset",
    "carry": "spans, state carried",
}
"""Names of folders, and what is done in them."""
TOLD = ("loss_valid", "loss_valid_everything")


class StateReset(LongContextLoader):
    """The same spans of whole pieces, with the state reset before each."""

    def __next__(self) -> Batch:
        """The next span of every row."""
        return replace(super().__next__(), continues=False)


def main() -> None:
    """Train what is not trained yet, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", help="bach, or a folder of music")
    parser.add_argument("--runs", type=Path, required=True, help="folder of run directories")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--context-length", type=int, default=1024)
    parser.add_argument("--texts", type=int, default=1000, help="at most")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--as-it-is", action="store_true", help="measure finished runs alone")
    parser.add_argument("--quick", action="store_true", help="marks figures that are no figures")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = [row for seed in given.seeds for way in WAYS for row in measure(way, seed, given)]
    settings = {
        "seed": given.seeds,
        **{name: getattr(given, name) for name in ("steps", "preset", "context_length", "quick")},
    }
    report = {"machine": machine("rwkv-music"), "settings": settings, "rows": rows}
    write_report(report, given.json)


def measure(way: str, seed: int, given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each length, with the held-out losses that the run itself told last."""
    run = RunDirectory(given.runs / f"{way}-{seed}")
    if not given.as_it_is:
        run = trained(way, seed, given)
    elif not run.exists() or run.status()["state"] != "finished":
        return []
    names = run.config()["corpus"]["valid_pieces"]
    texts = held_out_texts(load_corpus(given.corpus).pieces, names, given.lengths[-1], given.texts)
    model = load_model(run.checkpoint_path("last"))
    last = next(line for line in reversed(run.metrics()) if "loss_valid" in line)
    return [
        {"way": WAYS[way], "seed": seed}
        | {
            name: rounded(value, 4) if isinstance(value, float) else value
            for name, value in asdict(row).items()
        }
        | {name: rounded(last[name], 4) for name in TOLD}
        for row in long_context(model, texts, lengths=given.lengths, segment=given.context_length)
    ]


def trained(way: str, seed: int, given: argparse.Namespace) -> RunDirectory:
    """The finished run."""
    config = TrainingConfig.preset(
        given.preset,
        corpus=given.corpus,
        out=str(given.runs / f"{way}-{seed}"),
        seed=seed,
        steps=given.steps,
        warmup_steps=min(50, given.steps - 1),
        evaluate_every=max(1, given.steps // 2),
        save_every=100,
        batch_size=8,
        precision="bf16",
        dropout=0.0,
        carry_state=way != "windows",
        context_length=given.context_length,
    )
    loader_class = StateReset if way == "anew" else LongContextLoader
    with patch("rwkv_music.training.data_module.LongContextLoader", loader_class):
        return train(config, resume=True)


if __name__ == "__main__":
    main()
