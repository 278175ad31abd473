"""`rwkv-music train`: a corpus in, a run directory out."""

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rwkv_music.cli.options import add_command, number, whole_number
from rwkv_music.cli.progress import ProgressBar

if TYPE_CHECKING:
    from rwkv_music.training.run import RunDirectory


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Describe the command."""
    parser = add_command(
        commands,
        "train",
        run,
        summary="Train a model on a corpus; watch it from the notebook, stop it with Ctrl-C.",
        example="rwkv-music train --corpus bach --out runs/bach --preset tiny",
    )
    parser.add_argument(
        "--corpus",
        required=True,
        metavar="bach|FOLDER",
        help="the chorales in the installed music21, or a folder of music files",
    )
    parser.add_argument("--out", required=True, metavar="RUN", help="run directory to make")
    parser.add_argument(
        "--preset",
        choices=("tiny", "small"),
        default="small",
        help="tiny takes seconds, small made the shipped model (default: %(default)s)",
    )
    parser.add_argument(
        "--steps", type=whole_number(at_least=1), metavar="N", help="optimizer steps to take"
    )
    parser.add_argument(
        "--seed",
        type=whole_number(at_least=0),
        default=0,
        metavar="S",
        help="repeat an earlier run (default: %(default)s)",
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda", "mps"),
        default="auto",
        help="where to train (default: %(default)s)",
    )
    parser.add_argument(
        "--prompt-bars", type=whole_number(at_least=1), metavar="N", help="bars given at most"
    )
    parser.add_argument(
        "--completion-bars",
        type=whole_number(at_least=1),
        metavar="M",
        help="bars to complete at most; only they are scored",
    )
    parser.add_argument("--batch-size", type=whole_number(at_least=1), metavar="N")
    parser.add_argument("--learning-rate", type=number(above=0), metavar="R")


@contextmanager
def _interrupt_asks_to_stop(directory: "RunDirectory", bar: ProgressBar) -> Iterator[None]:
    """The first Ctrl-C finishes the step and saves; a second, or an early one, ends at once."""

    def handle(_signal: int, _frame: object) -> None:
        if not bar.is_training or directory.stop_was_asked():
            raise KeyboardInterrupt
        print("\nfinishing this step and saving; Ctrl-C again ends at once", file=sys.stderr)
        directory.ask_to_stop()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run(given: argparse.Namespace) -> int:
    """Train to the end, or until Ctrl-C asks to stop."""
    from rwkv_music.ops.backends import describe_backends
    from rwkv_music.training.config import TrainingConfig
    from rwkv_music.training.pipeline import train
    from rwkv_music.training.run import RunDirectory

    settings = {
        name: getattr(given, name)
        for name in ("steps", "prompt_bars", "completion_bars", "batch_size", "learning_rate")
    }
    if settings["steps"] is not None:
        # A run shorter than the preset's warm-up still rises to its peak.
        default = TrainingConfig.preset(given.preset, corpus="", out="").warmup_steps
        settings["warmup_steps"] = min(default, settings["steps"] - 1)
    config = TrainingConfig.preset(
        given.preset,
        corpus=given.corpus,
        out=given.out,
        seed=given.seed,
        device=given.device,
        **settings,
    )
    print(f"WKV kernel: {describe_backends()}", file=sys.stderr)
    bar = ProgressBar(config.steps)
    with bar, _interrupt_asks_to_stop(RunDirectory(config.out_path), bar):
        directory = train(
            config, progress=bar.on_piece, on_step=bar.on_step, on_evaluation=bar.on_evaluation
        )
    corpus = directory.config()["corpus"]
    for name in corpus["too_short"]:
        print(f"left out: {name} has fewer than 2 bars", file=sys.stderr)
    for reason in corpus["set_aside"].values():
        print(f"set aside: {reason}", file=sys.stderr)
    status = directory.status()
    print(f"{status['state']} after step {status['step']}: {directory.path}")
    return 0
