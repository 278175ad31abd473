"""`rwkv-music tune`: fine-tune a model on a few files, into a style or a new model."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.cli.options import add_command, add_model_option, add_settings, given_settings
from rwkv_music.cli.paths import make_folder, try_file
from rwkv_music.cli.terminal import print_message, print_result
from rwkv_music.errors import InputError, write_errors
from rwkv_music.settings import settings_code
from rwkv_music.training.finetuning.tuning_config import TuningConfig, tuning_settings

if TYPE_CHECKING:
    from rwkv_music.evaluation import HeldOut
    from rwkv_music.model import MusicModel, Style


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Describe the command."""
    parser = add_command(
        commands,
        "tune",
        run,
        summary="Fine-tune a model on a few files: a small style file, or a new model.",
        example="rwkv-music tune --model bach --files a.mid b.mid -o my.style",
    )
    add_model_option(parser)
    parser.add_argument(
        "--files", nargs="+", required=True, metavar="FILE", help="music to train on"
    )
    parser.add_argument(
        "--held-out",
        nargs="+",
        default=[],
        metavar="FILE",
        help="similar music to evaluate on before and after; it is not trained on",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        type=Path,
        required=True,
        help="the style file (.pth for the format of RWKV-PEFT), or the new model's .safetensors",
    )
    add_settings(parser, tuning_settings().values())


def run(given: argparse.Namespace) -> int:
    """Tune, save, and evaluate on the held-out files if there are any."""
    from tqdm import tqdm

    from rwkv_music.model import load_model
    from rwkv_music.training.finetuning.state_tuning import tune_state
    from rwkv_music.training.finetuning.tuning import tuning_windows
    from rwkv_music.training.finetuning.weight_tuning import tune_weights
    from rwkv_music.training.trainer import StepMetrics

    config = TuningConfig(**given_settings(given, tuning_settings().values()))
    _refuse_contradictions(given, config)
    model = load_model(given.model)
    windows = tuning_windows(model, given.files, config)
    held_out = _held_out(model, given.held_out, config)
    make_folder(given.output.parent)
    try_file(given.output, "-o")
    before = _nats_per_note(model, held_out)
    with tqdm(total=config.steps, desc="tuning", unit="step") as bar:

        def on_step(metrics: StepMetrics) -> None:
            bar.set_postfix_str(f"loss {metrics.loss_train:.3f}")
            bar.update()

        if config.method == "state":
            style = tune_state(model, windows, config, on_step=on_step)
        else:
            model = tune_weights(model, windows, config, on_step=on_step)
            style = None
    after = _nats_per_note(model, held_out, style)
    with write_errors(given.output):
        _save(given.output, model, style)
    print_result(given.output)
    if before is not None and after is not None:
        print_result(f"held-out files: {before:.3f} nats per note before, {after:.3f} after")
    if style is not None:
        print_message(f"use it with: rwkv-music continue PROMPT.mid --style {given.output} -o out/")
    return 0


def _refuse_contradictions(given: argparse.Namespace, config: TuningConfig) -> None:
    """Refuse options that contradict each other before minutes of work."""
    if given.rank is not None and config.method != "lora":
        raise InputError(
            f"{settings_code(rank=config.rank)} is for {settings_code(method='lora')}, not for "
            f"{config.method}: leave it out"
        )
    if config.method != "state" and given.output.suffix == ".pth":
        raise InputError(
            f"-o {given.output}: {settings_code(method=config.method)} makes a whole model, which "
            f"is written as safetensors: name it {given.output.with_suffix('.safetensors')}"
        )
    if config.method == "lora":
        from rwkv_music.training.finetuning.lora import imported_peft

        imported_peft()


def _held_out(model: "MusicModel", files: list[str], config: TuningConfig) -> "HeldOut | None":
    """Return what to evaluate on; None without files."""
    from rwkv_music.evaluation import HeldOut
    from rwkv_music.training.finetuning.tuning import tuning_windows

    if not files:
        return None
    windows = tuning_windows(model, files, config)
    return HeldOut(windows, windows.tokenizer)


def _nats_per_note(
    model: "MusicModel", held_out: "HeldOut | None", style: "Style | None" = None
) -> float | None:
    """Return the loss on the held-out completions; None if there are none."""
    if held_out is None:
        return None
    return held_out.likelihood(model, style=style).completion.nats_per_note


def _save(path: Path, model: "MusicModel", style: "Style | None") -> None:
    from rwkv_music.model import save_checkpoint, save_state, save_style

    if style is None:
        save_checkpoint(model, path)
    elif path.suffix == ".pth":
        save_state(style.state(model), path)
    else:
        save_style(style, path)
