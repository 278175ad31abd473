"""`rwkv-music train`: train on a corpus and write a run directory."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.cli.options import add_command, add_settings, given_settings
from rwkv_music.cli.terminal import TrainingProgress, print_message, print_result
from rwkv_music.data.corpora.corpus_list import corpora_text
from rwkv_music.errors import InputError
from rwkv_music.settings import Setting
from rwkv_music.training.config import TrainingConfig, group_titles, training_settings
from rwkv_music.training.presets import PRESETS

if TYPE_CHECKING:
    from rwkv_music.training.run.directory import RunDirectory

_SEVERAL_PROCESSES = "To train in N processes: torchrun --nproc-per-node N -m rwkv_music train ..."
_MAX_REASONS = 10
"""Skipped pieces that are listed."""


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
    corpus = training_settings()["corpus"]
    music.add_argument("--corpus", metavar=corpus.metavar, nargs="+", help=corpus.help.rstrip("."))
    music.add_argument("--store", metavar="STORE", help="a token store made by rwkv-music prepare")
    add_settings(parser, [training_settings()["out"]])
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in RUN exactly where it stopped, with its own settings",
    )
    parser.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        help="settings to start from: tiny takes seconds, small made the shipped models, the "
        "others are named after their number of parameters (default: small, whose values are the "
        "defaults below)",
    )
    for name, title in group_titles().items():
        description = f"{title} {_SEVERAL_PROCESSES}" if name == "hardware" else title
        add_settings(
            parser.add_argument_group(f"{name} settings", description),
            (declared for declared in _optional_settings() if declared.group == name),
        )


def _optional_settings() -> Iterable[Setting]:
    return (declared for declared in training_settings().values() if not declared.is_required)


def _config(given: argparse.Namespace) -> TrainingConfig:
    """Return the settings of a new run, or those of the run to resume with what was typed."""
    from rwkv_music.training.pipeline import settings_of
    from rwkv_music.training.run.directory import RunDirectory

    settings = given_settings(given, training_settings().values())
    if given.corpus is not None:
        settings["corpus"] = corpora_text(given.corpus)
    if given.store is not None:
        settings["corpus"] = _checked_store(given.store)
    if given.resume and RunDirectory(Path(given.out)).config_path.exists():
        if given.preset is not None:
            settings = _preset_settings(given.preset, settings)
        return settings_of(given.out, **settings)
    if "corpus" not in settings:
        raise InputError(
            "there is no music to train on: give --corpus bach, --corpus FOLDER, or --store STORE"
        )
    return TrainingConfig.preset("small", **_preset_settings(given.preset or "small", settings))


def _preset_settings(preset: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return every setting that presets change: as given, as in this preset, or the default."""
    defaults = {declared.name: declared.default for declared in _optional_settings()}
    decided = {name: defaults[name] for values in PRESETS.values() for name in values}
    merged = {**decided, **PRESETS[preset], **settings}
    if "steps" in settings and "warmup_steps" not in settings:
        # A run that is shorter than the preset's warm-up still reaches its peak learning rate.
        merged["warmup_steps"] = min(merged["warmup_steps"], settings["steps"] - 1)
    return merged


def _checked_store(path: str) -> str:
    from rwkv_music.data.store.store_info import is_store

    if not is_store(path):
        raise InputError(
            f"{path} is not a token store: make one with rwkv-music prepare FOLDER -o {path}, or "
            "give a folder of music files to --corpus"
        )
    return path


def run(given: argparse.Namespace) -> int:
    """Train to the end, or until Ctrl-C asks to stop."""
    from rwkv_music.ops.backends import describe_backends
    from rwkv_music.training.callbacks import Callbacks
    from rwkv_music.training.distributed import init_process_group
    from rwkv_music.training.pipeline import train

    group = init_process_group(given.device or "auto")
    config = group.run_on_main(lambda: _config(given))
    if not group.is_main:
        train(config, resume=given.resume, group=group)
        group.close()
        return 0
    print_message(f"WKV kernel: {describe_backends()}")
    with TrainingProgress(config.run.steps, settings=vars(given)) as bar:
        directory = train(
            config,
            resume=given.resume,
            group=group,
            callbacks=Callbacks(
                on_piece=bar.on_piece,
                on_step=bar.on_step,
                on_evaluation=bar.on_evaluation,
                on_note=bar.on_note,
            ),
        )
    group.close()
    _report_skipped(directory)
    status = directory.status()
    print_result(f"{status['state']} after step {status['step']}: {directory.path}")
    return 0


def _report_skipped(directory: "RunDirectory") -> None:
    """Name the first pieces that were not trained on; config.json lists all of them."""
    corpus = directory.config()["corpus"]
    reasons = [f"skipped: {name} has fewer than 2 bars" for name in corpus["too_short"]]
    reasons += [f"skipped: {reason}" for reason in corpus["skipped"].values()]
    for line in reasons[:_MAX_REASONS]:
        print_message(line)
    if len(reasons) > _MAX_REASONS:
        more = len(reasons) - _MAX_REASONS
        print_message(f"and {more} more pieces, see {directory.config_path}")
