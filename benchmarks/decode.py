"""Time token-by-token decoding on one core, beside the `rwkv` package on the same checkpoint.

    pip install -e '.[bench]'
    python -m benchmarks.decode --json benchmarks/results/decode.json --music bach

Two synthetic checkpoints of which every parameter is in use, stored in float32. Times are of one
thread. The error is the root mean square of the difference of the logits from the truth, over that
of the truth; the truth is our model in float64 with the step-by-step recurrence. "Reading alone"
does nothing but read as many bytes as the matrices have, once a token: what memory allows, if every
weight is read. `--music bach`
adds what narrower weights cost the shipped model on the held-out chorales, `--music FOLDER` on a
folder of MIDI.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.decoders import (
    OURS,
    PACKAGE,
    Implementation,
    ModelStep,
    OurDecoder,
    implementation_names,
    make_implementation,
    perturbed_model,
)
from benchmarks.measuring import (
    REPEATS,
    Timing,
    alternate,
    in_a_process,
    machine,
    rounded,
    time_ratio,
    write_report,
)
from benchmarks.music_loss import music_losses
from rwkv_music.gpu_benchmark.accuracy import relative_error
from rwkv_music.model import RWKV7, ModelConfig, MusicModel, save_pth
from rwkv_music.ops import use_backend
from rwkv_music.ops.decoding import contiguous_copies

Key = tuple[str, str]
"""An implementation's name and the precision of its weights."""

Task = Callable[[Implementation, Tensor], Tensor]
"""Reads tokens [B, T] from an empty state and returns all logits it made, [B, steps, V]."""

READING = "reading alone"
ONE_SEQUENCE = "one sequence"

_EARLY = 100
"""Tokens after which memory is looked at for the first time."""


def main() -> None:
    """Measure every size, then memory, then the loss on music."""
    given = arguments()
    torch.set_num_threads(1)
    if given.memory_of:
        print(json.dumps(memory(given)))
        return
    peers = ["rwkv"] if any(name == PACKAGE for name, _ in implementation_names()) else []
    report: dict[str, Any] = {
        "machine": machine("rwkv-music", *peers),
        "settings": {
            name: getattr(given, name)
            for name in ("sizes", "vocabulary", "steps", "prompt", "repeats", "seed", "quick")
        },
        "left_out": "" if peers else "the rwkv package is not installed",
        "rows": [row for size in given.sizes for row in measure(size, given)],
        "memory": [row for size in given.sizes[:1] for row in memories(size, given)],
    }
    if given.music:
        report["music"] = music_losses(given.music, given.model, given.music_pieces)
    write_report(report, given.json)


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=["6x256", "12x512"], metavar="LAYERSxWIDTH")
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=64, help="tokens of one turn")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory-tokens", type=int, default=100_000, help="0 leaves memory out")
    parser.add_argument("--music", metavar="bach|FOLDER", help="measure the loss on real music")
    parser.add_argument("--music-pieces", type=int, default=64, help="at most")
    parser.add_argument("--model", default="bach", help="that reads the music")
    parser.add_argument("--quick", action="store_true", help="tiny models and few tokens")
    parser.add_argument("--memory-of", nargs=2, metavar=("NAME", "SIZE"), help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.quick:
        given.sizes, given.vocabulary = ["2x128"], 64
        given.steps, given.prompt, given.repeats, given.memory_tokens = 8, 40, 2, 1000
    return given


def model_of(size: str, given: argparse.Namespace) -> RWKV7:
    """The synthetic model of a size."""
    layers, width = map(int, size.split("x"))
    sizes = ModelConfig(vocab_size=given.vocabulary, num_layers=layers, dim=width)
    return perturbed_model(sizes, given.seed)


def tasks(given: argparse.Namespace) -> dict[str, tuple[Task, Tensor]]:
    """What is timed, and the tokens read, [B, T]."""
    generator = torch.Generator().manual_seed(given.seed)
    ids = torch.randint(given.vocabulary, (16, given.steps), generator=generator)
    prompt = torch.randint(given.vocabulary, (1, given.prompt), generator=generator)
    return {
        ONE_SEQUENCE: (read_steps, ids[:1]),
        "16 sequences": (read_steps, ids[:, : max(1, given.steps // 4)]),
        "prompt": (read_prompt, prompt),
        "first token": (read_prompt, prompt[:, : given.prompt // 8]),
    }


def read_steps(implementation: Implementation, ids: Tensor) -> Tensor:
    """Token by token."""
    state = implementation.start(len(ids))
    logits = []
    for column in ids.unbind(1):
        step_logits, state = implementation.step(column, state)
        logits.append(step_logits.clone())
    return torch.stack(logits, dim=1)


def read_prompt(implementation: Implementation, ids: Tensor) -> Tensor:
    """All tokens at once."""
    logits, _ = implementation.prefill(ids, implementation.start(len(ids)))
    return logits.clone().unsqueeze(1)


def measure(size: str, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each task and implementation."""
    model = model_of(size, given)
    exact = ModelStep(model_of(size, given).double())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "model.pth"
        save_pth(MusicModel(model), path, dtype=torch.float32)
        implementations = {
            key: make_implementation(*key, model=model, path=path) for key in implementation_names()
        }
    for task, (work, ids) in tasks(given).items():
        with use_backend("reference"):
            truth = work(exact, ids)
        works = {
            key: partial(work, implementation, ids)
            for key, implementation in implementations.items()
        }
        if task == ONE_SEQUENCE:
            works |= readings(implementations, ids.numel())
        timings = alternate(
            works,
            repeats=given.repeats,
            warm_up=2,  # TorchScript compiles in the second call
        )
        for key, timing in timings.items():
            yield {
                "size": size,
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "task": task,
                "tokens": ids.numel(),
                "implementation": key[0],
                "precision": key[1],
                **timing.to_dict(),
                "tokens_per_second": round(ids.numel() / timing.median, 1),
                "times_faster_than_package": times_faster(timings, key),
                **({} if key[0] == READING else errors(works[key](), truth)),
            }


def readings(
    implementations: dict[Key, Implementation], tokens: int
) -> dict[Key, Callable[[], Tensor]]:
    """Read as much as each of our decoders keeps in matrices, as often as it does, and no more."""
    return {
        (READING, key[1]): partial(
            read_again, memory_of(implementation.decoder.matrix_bytes), tokens
        )
        for key, implementation in implementations.items()
        if isinstance(implementation, OurDecoder)
        and implementation.decoder.matrix_bytes is not None
    }


def memory_of(size: int) -> Float[Tensor, " numbers"]:
    """So many bytes of zeros, in pages as large as those of the decoders' matrices."""
    return contiguous_copies({"numbers": torch.zeros(size // 4)})["numbers"]


def read_again(memory: Tensor, times: int) -> Tensor:
    """The product of a vector with itself: torch's quickest way to read all of it once."""
    for _ in range(times):
        total = torch.dot(memory, memory)
    return total


def errors(logits: Tensor, truth: Tensor) -> dict[str, float]:
    """How far logits are from the truth."""
    return {
        "logit_error": rounded(relative_error(logits, truth), 3),
        "logit_difference": rounded(float((logits - truth).abs().max()), 3),
    }


def times_faster(timings: dict[Key, Timing], key: Key) -> dict[str, float] | None:
    """The package's seconds in float32 over an implementation's, turn by turn; None without it."""
    package = timings.get((PACKAGE, "float32"))
    return None if package is None else time_ratio(package, timings[key])


def memories(size: str, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Memory of a process that decodes and does nothing else, early and late.

    The package is slow enough that a tenth of the tokens has to do.
    """
    present = {name for name, _ in implementation_names()}
    for name, tokens in ((OURS, given.memory_tokens), (PACKAGE, given.memory_tokens // 10)):
        if name in present and tokens >= _EARLY:
            yield in_a_process(
                "benchmarks.decode", "--memory-of", name, size,
                "--vocabulary", str(given.vocabulary), "--seed", str(given.seed),
                "--memory-tokens", str(tokens),
            )  # fmt: skip


def memory(given: argparse.Namespace) -> dict[str, Any]:
    """Resident bytes after the first hundred tokens and after the last, in this process."""
    name, size = given.memory_of
    model = model_of(size, given)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "model.pth"
        save_pth(MusicModel(model), path, dtype=torch.float32)
        implementation = make_implementation(name, "float32", model, path)
    state = implementation.start(1)
    ids = torch.zeros(1, dtype=torch.int64)
    resident = {}
    for num_tokens in range(1, given.memory_tokens + 1):
        logits, state = implementation.step(ids, state)
        ids = logits.argmax(-1)
        if num_tokens in (_EARLY, given.memory_tokens):
            resident[num_tokens] = psutil.Process().memory_info().rss
    return {
        "implementation": name,
        "size": size,
        "tokens": given.memory_tokens,
        "resident_bytes_early": resident[_EARLY],
        "resident_bytes_late": resident[given.memory_tokens],
    }


if __name__ == "__main__":
    main()
