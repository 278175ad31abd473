"""Time a whole training step of RWKV-7 beside a transformer of equal size.

    python -m benchmarks.train_step --json benchmarks/results/train_step.json

A step is forward, backward, clipping and AdamW, over as many tokens at every length. The
transformer is a GPT-2 in plain PyTorch (benchmarks/transformer.py) with the same vocabulary,
optimizer and loss; the numbers of parameters differ by at most 1 %. Tokens are random: they cost
what real ones cost, and every one is scored. `--profile` lists where our step spends its time.
"""

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from benchmarks.measuring import (
    REPEATS,
    Timing,
    alternate,
    held_bytes,
    in_a_process,
    machine,
    rounded,
    time_ratio,
    write_report,
)
from benchmarks.memory import peak_memory
from benchmarks.transformer import Transformer
from rwkv_music.devices import keep_freed_memory
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.ops import use_backend
from rwkv_music.ops.wkv7 import available_backends
from rwkv_music.training.optimizer import make_optimizer

PEER = "transformer"
POSITIONS = 2048
PRECISIONS = ("float32", "bfloat16")
_LEARNING_RATE = 6e-4
_WEIGHT_DECAY = 0.1
_LARGEST_NORM = 1.0


def main() -> None:
    """Measure every length and precision."""
    given = arguments()
    torch.set_num_threads(given.threads or torch.get_num_threads())
    keep_freed_memory()  # as the trainer does; the transformer has it too
    if given.memory_of:
        print(json.dumps({"peak_bytes": peak_of_two_steps(given.memory_of, given)}))
        return
    if given.profile:
        profile(given)
        return
    report = {
        "machine": machine("rwkv-music"),
        "settings": settings(given),
        "rows": [
            row
            for precision in given.precisions
            for length in given.lengths
            for row in measure(length, precision, given)
        ],
    }
    write_report(report, given.json)


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--backends", nargs="+", default=available_backends("cpu")[:1])
    parser.add_argument("--tokens", type=int, default=4096, help="of one step")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="torch's own choice when 0")
    parser.add_argument(
        "--quick", action="store_true", help="tiny models and few tokens, to see that it works"
    )
    parser.add_argument("--profile", action="store_true", help="the 15 heaviest operators of ours")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.quick:
        given.lengths, given.tokens, given.repeats = [32], 64, 2
        given.layers, given.width, given.vocabulary = 2, 64, 64
    return given


def settings(given: argparse.Namespace) -> dict[str, Any]:
    """Everything that shapes the figures."""
    kept = ("tokens", "layers", "width", "vocabulary", "repeats", "seed", "quick")
    counts = {name: count_parameters(make_model(name, given)) for name in ("rwkv7", PEER)}
    return {name: getattr(given, name) for name in kept} | {"parameters": counts}


def backend_of(name: str) -> contextlib.AbstractContextManager[None]:
    """Use the backend of this name inside a `with` block; the transformer has none."""
    return contextlib.nullcontext() if name == PEER else use_backend(name)


def make_model(name: str, given: argparse.Namespace) -> nn.Module:
    """A model with its usual initial weights: the transformer, or ours for any other name."""
    if name == PEER:
        return Transformer(
            vocab_size=given.vocabulary,
            num_layers=given.layers,
            width=given.width,
            positions=POSITIONS,
            seed=given.seed,
        )
    sizes = ModelConfig(vocab_size=given.vocabulary, num_layers=given.layers, dim=given.width)
    model = RWKV7(sizes)
    initialize(model, seed=given.seed)
    return model


def count_parameters(model: nn.Module) -> int:
    """Numbers that are trained."""
    return sum(parameter.numel() for parameter in model.parameters())


def optimizer_of(model: Any) -> torch.optim.Optimizer:  # noqa: ANN401 - also the transformer
    """The trainer's AdamW, for both: its rule for which parameters decay suits both."""
    return make_optimizer(model, learning_rate=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)


def batch(length: int, given: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Random tokens, and the ones that come after them."""
    generator = torch.Generator().manual_seed(given.seed)
    shape = (max(1, given.tokens // length), length + 1)
    ids = torch.randint(given.vocabulary, shape, generator=generator)
    return ids[:, :-1], ids[:, 1:]


def loss_of(model: nn.Module, ids: Tensor, targets: Tensor, precision: str) -> Tensor:
    """Mean nats per token, in float32 or under bfloat16 autocast."""
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        output = model(ids)
        logits = output[0] if isinstance(model, RWKV7) else output
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def training_step(
    name: str, length: int, precision: str, given: argparse.Namespace
) -> Callable[[], float]:
    """A step of a new model that can be called again and again; it returns the loss before it."""
    model = make_model(name, given).train()
    optimizer = optimizer_of(model)
    ids, targets = batch(length, given)

    def step() -> float:
        with backend_of(name):
            loss = loss_of(model, ids, targets, precision)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), _LARGEST_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def measure(length: int, precision: str, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each of our backends and one for the transformer."""
    names = [*given.backends, PEER]
    losses: dict[str, list[float]] = {name: [] for name in names}
    steps = {name: training_step(name, length, precision, given) for name in names}

    def step(name: str) -> None:
        losses[name].append(steps[name]())

    timings = alternate({name: partial(step, name) for name in names}, repeats=given.repeats)
    for name in names:
        yield {
            "model": PEER if name == PEER else "rwkv7",
            "backend": None if name == PEER else name,
            "precision": precision,
            "length": length,
            "batch_size": len(batch(length, given)[0]),
            **timings[name].to_dict(),
            "tokens_per_second": tokens_per_second(timings[name], length, given),
            "time_over_transformer": time_ratio(timings[name], timings[PEER]),
            "first_loss": rounded(losses[name][0]),
            "last_loss": rounded(losses[name][-1]),
            "saved_bytes_per_token_and_layer": saved_per_layer(name, length, precision, given),
            **memory_of(name, length, precision, given),
        }


def tokens_per_second(timing: Timing, length: int, given: argparse.Namespace) -> int:
    """Tokens a model reads in a second of training."""
    return round(batch(length, given)[0].numel() / timing.median)


def saved_per_layer(
    name: str, length: int, precision: str, given: argparse.Namespace
) -> float | None:
    """Bytes one more layer keeps for the backward of one more token.

    What three layers keep beyond two, for two sequences beyond one: embedding and head drop out of
    the first difference, converted weights out of the second.
    """
    kept = {}
    for layers in (2, 3):
        small = argparse.Namespace(**{**vars(given), "layers": layers})
        model = make_model(name, small)
        for rows in (1, 2):
            few = argparse.Namespace(**{**vars(given), "tokens": rows * length})
            ids, targets = batch(length, few)
            with backend_of(name):
                held = held_bytes(partial(loss_of, model, ids, targets, precision))
            if held is None:
                return None
            kept[layers, rows] = held
    more = (kept[3, 2] - kept[3, 1]) - (kept[2, 2] - kept[2, 1])
    return round(more / length, 1)


def memory_of(name: str, length: int, precision: str, given: argparse.Namespace) -> dict[str, int]:
    """Most memory a process has that makes two steps and nothing else."""
    same = ("tokens", "layers", "width", "vocabulary", "seed")
    options = [word for key in same for word in (f"--{key}", str(getattr(given, key)))]
    figures: dict[str, int] = in_a_process(
        "benchmarks.train_step", "--memory-of", name, "--lengths", str(length),
        "--precisions", precision, "--threads", str(torch.get_num_threads()), *options,
    )  # fmt: skip
    return figures


def peak_of_two_steps(name: str, given: argparse.Namespace) -> int:
    """Most bytes of memory so far, after the second step: the first one has no moments yet."""
    step = training_step(name, given.lengths[0], given.precisions[0], given)
    step()
    step()
    return peak_memory()


def profile(given: argparse.Namespace) -> None:
    """Print where our step spends its time, for every precision and length asked for."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    for precision in given.precisions:
        for length in given.lengths:
            step = training_step(given.backends[0], length, precision, given)
            step()
            with profiler(activities=[ProfilerActivity.CPU]) as seen:
                step()
            print(f"{given.backends[0]}, {precision}, T = {length}")
            print(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=15))


if __name__ == "__main__":
    main()
