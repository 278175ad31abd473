"""Measure the peak memory of a training step, and what the head takes.

    python -m benchmarks.step_memory --json benchmarks/results/step_memory.json

Each row is a process of its own that makes two whole steps (the first has no moments yet) on random
tokens, half of them scored, and nothing else; its peak is counted from where it stood before the
model was made. The table sets the library's estimate beside each, and estimates larger sizes.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from benchmarks.measuring import in_a_process, machine, write_report
from benchmarks.memory import peak_memory
from rwkv_music.data import Batch
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.ops.backends import has_amx
from rwkv_music.ops.cross_entropy import completion_loss
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.memory import MemoryEstimate, StepWorkload, estimate_memory
from rwkv_music.training.trainer import Trainer

VOCABULARY = 2048
FORMS: dict[str, dict[str, Any]] = {
    "float32": {},
    "checkpointing": {"activation_checkpointing": True},
    "bf16": {"precision": "bfloat16"},
    "bf16, checkpointing, adafactor": {
        "precision": "bfloat16", "activation_checkpointing": True, "optimizer": "adafactor"
    },
}  # fmt: skip
MEASURED = ("5m", "12m", "25m", "43m", "94m")
ESTIMATED = ("324m", "1.3b", "2.6b")
"""Too large for the machines at hand."""
HEADS = ("every position", "scored positions", "scored positions, in chunks")
_IGNORED = -100
"""The target that torch's cross-entropy leaves out of the mean."""


def main() -> None:
    """Measure every preset in every form."""
    given = arguments()
    torch.set_num_threads(given.threads or torch.get_num_threads())
    if given.step_of:
        print(json.dumps(peak_of_two_steps(given.step_of, given.form, given)))
        return
    if given.head_of:
        print(json.dumps(peak_of_head(given.head_of, given.form, given)))
        return
    report = {
        "machine": machine("rwkv-music"),
        "settings": {"tiles": has_amx()}
        | {
            name: getattr(given, name)
            for name in ("positions", "rows", "seed", "quick", "head_width", "head_positions")
        },
        "rows": [
            {"preset": name, "form": form, **step_in_a_process(name, form, given)}
            for name in given.measured
            for form in FORMS
        ],
        "heads": [
            {"vocabulary": vocabulary, "form": form, **head_in_a_process(vocabulary, form, given)}
            for vocabulary in given.vocabularies
            for form in HEADS
        ],
    }
    write_report(report, given.json)


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measured", nargs="*", default=list(MEASURED), help="presets")
    parser.add_argument("--positions", type=int, default=2048, help="of one batch")
    parser.add_argument("--rows", type=int, default=2, help="of one batch")
    parser.add_argument("--vocabularies", type=int, nargs="*", default=[2048, 65_536])
    parser.add_argument("--head-width", type=int, default=256)
    parser.add_argument("--head-positions", type=int, default=2048, help="of one batch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="torch's own choice when 0")
    parser.add_argument("--quick", action="store_true", help="the smallest, to see that it works")
    parser.add_argument("--step-of", help=argparse.SUPPRESS)
    parser.add_argument("--head-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--form", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.quick:
        given.measured, given.positions = ["1m"], 512
        given.vocabularies, given.head_positions = [2048], 256
    return given


def config_of(name: str, form: str) -> TrainingConfig:
    """A preset in one of the forms."""
    return TrainingConfig.preset(name, corpus="", out="", **FORMS[form])


def sizes_of(config: TrainingConfig) -> ModelConfig:
    """The model it trains."""
    return ModelConfig(
        vocab_size=VOCABULARY,
        num_layers=config.model.num_layers,
        dim=config.model.dim,
        dropout=config.model.dropout,
    )


def estimate_of(name: str, form: str, settings: Mapping[str, Any]) -> MemoryEstimate:
    """What the library expects of a row, measured or not."""
    config = config_of(name, form)
    positions = settings["positions"]
    load = StepWorkload(
        positions,
        scored=positions // 2,
        rows=settings["rows"],
        has_amx=settings["tiles"],
    )
    return estimate_memory(sizes_of(config), config, load)


def step_in_a_process(name: str, form: str, given: argparse.Namespace) -> dict[str, int]:
    """What a step of a preset takes."""
    figures: dict[str, int] = in_a_process(
        "benchmarks.step_memory", "--step-of", name, "--form", form, *same_settings(given)
    )
    return figures


def same_settings(given: argparse.Namespace) -> list[str]:
    """The options a process of its own needs too."""
    names = ("positions", "rows", "head_width", "head_positions", "seed", "threads")
    return [
        word
        for name in names
        for word in (f"--{name.replace('_', '-')}", str(getattr(given, name)))
    ]


def random_batch(vocabulary: int, positions: int, rows: int, seed: int) -> Batch:
    """Random tokens, the later half of each row scored."""
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, positions // rows)
    tokens = torch.randint(1, vocabulary, shape, generator=generator)
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[:, shape[1] // 2 :] = True
    return Batch(tokens=tokens, targets=tokens.roll(-1, 1), completion_mask=mask)


def above_now(work: Callable[[], object]) -> int:
    """Most bytes that some work has added to what this process has now."""
    before = psutil.Process().memory_info().rss
    work()
    return peak_memory() - before


def peak_of_two_steps(name: str, form: str, given: argparse.Namespace) -> dict[str, int]:
    """What two steps of a new trainer take."""
    config = config_of(name, form)
    batch = random_batch(VOCABULARY, given.positions, given.rows, given.seed)
    warm_up(given)

    def work() -> None:
        model = RWKV7(sizes_of(config))
        initialize(model, seed=given.seed)
        trainer = Trainer(model, iter(()), config)
        for step in (1, 2):
            trainer.step(step, [batch])

    return {"peak_bytes": above_now(work)}


def warm_up(given: argparse.Namespace) -> None:
    """StepWorkload what the first step of any size loads: libraries, threads, kernels."""
    config = TrainingConfig.preset("tiny", corpus="", out="")
    model = RWKV7(sizes_of(config))
    initialize(model, seed=given.seed)
    Trainer(model, iter(()), config).step(1, [random_batch(VOCABULARY, 64, 2, given.seed)])


def head_in_a_process(vocabulary: int, form: str, given: argparse.Namespace) -> dict[str, int]:
    """What the head takes in one of its forms."""
    figures: dict[str, int] = in_a_process(
        "benchmarks.step_memory",
        "--head-of",
        str(vocabulary),
        "--form",
        form,
        *same_settings(given),
    )  # fmt: skip
    return figures


def peak_of_head(vocabulary: int, form: str, given: argparse.Namespace) -> dict[str, int]:
    """Head, loss and their gradients, half of the positions scored."""
    batch = random_batch(vocabulary, given.head_positions, given.rows, given.seed)
    hidden = torch.randn(*batch.tokens.shape, given.head_width, requires_grad=True)
    weight = torch.randn(vocabulary, given.head_width, requires_grad=True)
    warm_up(given)
    return {"peak_bytes": above_now(lambda: head_loss(form, hidden, weight, batch).backward())}


def head_loss(form: str, hidden: Tensor, weight: Tensor, batch: Batch) -> Tensor:
    """The mean over the scored positions, as plain trainers, frugal ones and ours take it."""
    mask = batch.completion_mask
    if form == HEADS[0]:
        targets = batch.targets.masked_fill(~mask, _IGNORED)
        return F.cross_entropy(F.linear(hidden, weight).flatten(0, 1), targets.flatten())
    if form == HEADS[1]:
        return F.cross_entropy(F.linear(hidden[mask], weight), batch.targets[mask])
    return completion_loss(hidden, weight, batch.targets, mask)


if __name__ == "__main__":
    main()
