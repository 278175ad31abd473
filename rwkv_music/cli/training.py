"""`rwkv-music train`: a corpus in, a run directory out."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from rwkv_music.cli.options import add_command, number, whole_number
from rwkv_music.cli.progress import ProgressBar
from rwkv_music.errors import InputError

if TYPE_CHECKING:
    from rwkv_music.training.config import TrainingConfig
    from rwkv_music.training.run.directory import RunDirectory

_MOST_NAMED = 10
"""Of the pieces left out."""
PRESETS = ("tiny", "small", "1m", "5m", "12m", "25m", "43m", "94m", "324m", "1.3b", "2.6b")
_SETTINGS = (
    "corpus", "init", "seed", "device", "steps", "prompt_bars", "completion_bars", "batch_size",
    "accumulation", "learning_rate", "schedule", "dropout", "label_smoothing", "logit_penalty",
    "early_stop", "evaluate_every", "save_every", "precision", "checkpointing", "optimizer",
    "carry_state", "context_length", "augmentation", "drop_parts", "sharding", "track",
)  # fmt: skip
"""Options that are settings of the same name; one that is not given stays as the preset has it."""


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Describe the command."""
    parser = add_command(
        commands,
        "train",
        run,
        summary="Train a model on a corpus; watch it from the notebook, stop it with Ctrl-C.",
        example="rwkv-music train --corpus bach --out runs/bach --preset tiny",
    )
    music = parser.add_mutually_exclusive_group()
    music.add_argument(
        "--corpus",
        metavar="bach|FOLDER",
        help="the chorales in the installed music21, or a folder of music files",
    )
    music.add_argument(
        "--store",
        metavar="STORE",
        help="what rwkv-music prepare made of a folder",
    )
    parser.add_argument("--out", required=True, metavar="RUN", help="run directory to make")
    parser.add_argument(
        "--init",
        metavar="MODEL",
        help="begin with the weights of a model (bach, a run directory or a file) of the same "
        "sizes and tokenizer",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in RUN as if it had never stopped; its own settings count",
    )
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        help="tiny takes seconds, small made the shipped models, the others are named after their "
        "number of parameters (default: small)",
    )
    _add_basic_options(parser)
    _add_finer_options(parser)
    _add_memory_options(parser)
    _add_cluster_options(parser)


def _add_basic_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--steps", type=whole_number(at_least=1), metavar="N", help="optimizer steps to take"
    )
    parser.add_argument(
        "--seed",
        type=whole_number(at_least=0),
        metavar="S",
        help="repeat an earlier run (default: 0)",
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda", "mps"), help="where to train (default: auto)"
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


def _add_finer_options(parser: argparse.ArgumentParser) -> None:
    finer = parser.add_argument_group("finer settings")
    finer.add_argument(
        "--accumulation",
        type=whole_number(at_least=1),
        metavar="N",
        help="batches added up for one step, where memory is short",
    )
    finer.add_argument(
        "--schedule",
        choices=("cosine", "wsd"),
        help="how the learning rate falls: along a cosine, or only near the end",
    )
    finer.add_argument(
        "--dropout", type=number(at_least=0), metavar="P", help="more for little music"
    )
    finer.add_argument(
        "--no-augmentation",
        dest="augmentation",
        action="store_false",
        default=None,
        help="show the music as it is, instead of in other keys, tempos and loudnesses as well",
    )
    finer.add_argument(
        "--drop-parts",
        type=number(at_least=0),
        metavar="P",
        help="share of windows of several parts that lose one of them (default: 0)",
    )
    finer.add_argument(
        "--label-smoothing",
        type=number(at_least=0),
        metavar="P",
        help="share of each target spread over the vocabulary, for little music",
    )
    finer.add_argument(
        "--logit-penalty",
        type=number(at_least=0),
        metavar="F",
        help="L2Wrap's factor, such as 1e-4: holds large logits back",
    )
    finer.add_argument(
        "--early-stop",
        type=whole_number(at_least=0),
        metavar="K",
        help="end after K looks at the held-out pieces without a better one",
    )
    finer.add_argument(
        "--evaluate-every",
        type=whole_number(at_least=1),
        metavar="N",
        help="steps between two looks at the held-out pieces",
    )
    finer.add_argument(
        "--save-every",
        type=whole_number(at_least=0),
        metavar="N",
        help="steps between two checkpoints, besides those at each look",
    )


def _add_memory_options(parser: argparse.ArgumentParser) -> None:
    memory = parser.add_argument_group("memory, and long pieces")
    memory.add_argument(
        "--precision",
        choices=("float32", "fp32", "bfloat16", "bf16"),
        help="of the matrix products; bf16 is faster where the processor has it (default: float32)",
    )
    memory.add_argument(
        "--checkpointing",
        action="store_true",
        default=None,
        help="compute each layer twice and keep less: for models that would not fit",
    )
    memory.add_argument(
        "--optimizer",
        choices=("adamw", "adafactor"),
        help="adafactor keeps next to nothing for each weight (default: adamw)",
    )
    memory.add_argument(
        "--carry-state",
        action="store_true",
        default=None,
        help="read whole pieces, the state going from step to step, instead of windows",
    )
    memory.add_argument(
        "--context-length",
        type=whole_number(at_least=1),
        metavar="N",
        help="tokens of a row in one step with --carry-state (default: 1024)",
    )


def _add_cluster_options(parser: argparse.ArgumentParser) -> None:
    several = parser.add_argument_group(
        "several processes", "started by torchrun --nproc-per-node N -m rwkv_music train ..."
    )
    several.add_argument(
        "--sharding",
        choices=("none", "fsdp"),
        help="fsdp gives each process a part of the model, where it is too large for one",
    )
    several.add_argument(
        "--track",
        choices=("auto", "none", "tensorboard", "wandb"),
        help="who is told of the metrics besides the run directory (default: auto, which is "
        "TensorBoard where several processes train and it is installed)",
    )


def _config(given: argparse.Namespace) -> "TrainingConfig":
    """The settings of a new run, or of the one that is there with nothing but its place changed."""
    from rwkv_music.training.config import TrainingConfig
    from rwkv_music.training.pipeline import settings_of
    from rwkv_music.training.run.directory import RunDirectory

    settings = {name: getattr(given, name) for name in _SETTINGS}
    settings = {name: value for name, value in settings.items() if value is not None}
    if given.store is not None:
        settings["corpus"] = _checked_store(given.store)
    if given.resume and RunDirectory(given.out).config_path.exists():
        before = settings_of(given.out)
        if given.preset is not None:
            raise InputError("a run that goes on keeps its preset: leave --preset out")
        return TrainingConfig(**{**before.to_dict(), **settings})
    if "corpus" not in settings:
        raise InputError(
            "there is nothing to train on: give --corpus bach, --corpus FOLDER, or --store STORE"
        )
    preset = given.preset or "small"
    if "steps" in settings:
        # A run shorter than the preset's warm-up still rises to its peak.
        default = TrainingConfig.preset(preset, corpus="", out="").warmup_steps
        settings["warmup_steps"] = min(default, settings["steps"] - 1)
    return TrainingConfig.preset(preset, out=given.out, **settings)


def _checked_store(path: str) -> str:
    from rwkv_music.data.store.store_info import is_store

    if not is_store(path):
        raise InputError(
            f"{path} is no token store: make one with rwkv-music prepare FOLDER -o {path}, or give "
            "a folder of music files to --corpus"
        )
    return path


def run(given: argparse.Namespace) -> int:
    """Train to the end, or until Ctrl-C asks to stop."""
    from rwkv_music.ops.backends import describe_backends
    from rwkv_music.training.callbacks import Listeners
    from rwkv_music.training.distributed.process_group import join_cluster
    from rwkv_music.training.pipeline import train

    cluster = join_cluster(given.device or "auto")
    config = cluster.first(lambda: _config(given))
    if not cluster.is_leader:
        train(config, resume=given.resume, cluster=cluster)
        cluster.leave()
        return 0
    print(f"WKV kernel: {describe_backends()}", file=sys.stderr)
    with ProgressBar(config.steps) as bar:
        directory = train(
            config,
            resume=given.resume,
            cluster=cluster,
            listeners=Listeners(
                on_piece=bar.on_piece,
                on_step=bar.on_step,
                on_evaluation=bar.on_evaluation,
                on_note=bar.on_note,
            ),
        )
    cluster.leave()
    _tell_what_was_left_out(directory)
    status = directory.status()
    print(f"{status['state']} after step {status['step']}: {directory.path}")
    return 0


def _tell_what_was_left_out(directory: "RunDirectory") -> None:
    """Name the first pieces that were not trained on; all of them stand in config.json."""
    corpus = directory.config()["corpus"]
    told = [f"left out: {name} has fewer than 2 bars" for name in corpus["too_short"]]
    told += [f"set aside: {reason}" for reason in corpus["set_aside"].values()]
    for line in told[:_MOST_NAMED]:
        print(line, file=sys.stderr)
    if len(told) > _MOST_NAMED:
        more = len(told) - _MOST_NAMED
        print(f"and {more} pieces more, see {directory.config_path}", file=sys.stderr)
