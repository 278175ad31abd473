"""`rwkv-music tune`: a model and a few files in, a style or a tuned model out."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.cli.options import add_command, number, whole_number
from rwkv_music.cli.paths import make_folder, try_file, writing
from rwkv_music.errors import InputError

if TYPE_CHECKING:
    from rwkv_music.evaluation import HeldOut
    from rwkv_music.model import MusicModel, Style
    from rwkv_music.training.finetuning.tuning import TuningConfig


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Describe the command."""
    parser = add_command(
        commands,
        "tune",
        run,
        summary="Teach a model the manner of a few files: a small style file, or a tuned model.",
        example="rwkv-music tune --model bach --files a.mid b.mid -o my.style",
    )
    parser.add_argument(
        "--model",
        default="bach",
        metavar="NAME|PATH",
        help="a shipped model, a run directory or a checkpoint (default: %(default)s)",
    )
    parser.add_argument(
        "--files", nargs="+", required=True, metavar="FILE", help="music to learn from"
    )
    parser.add_argument(
        "--withheld",
        nargs="+",
        default=[],
        metavar="FILE",
        help="music of the same kind to measure on before and after; it is not learnt from",
    )
    parser.add_argument(
        "--method",
        choices=("state", "lora", "full"),
        default="state",
        help="state: a style file for --style; lora, full: a new model (default: %(default)s)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        type=Path,
        required=True,
        help="the style (.pth for RWKV-PEFT's form), or the new model's .safetensors",
    )
    parser.add_argument("--steps", type=whole_number(at_least=1), metavar="N")
    parser.add_argument("--batch-size", type=whole_number(at_least=1), metavar="N")
    parser.add_argument("--learning-rate", type=number(above=0), metavar="R")
    parser.add_argument(
        "--rank", type=whole_number(at_least=1), metavar="N", help="of the additions of lora"
    )
    parser.add_argument("--seed", type=whole_number(at_least=0), default=0, metavar="S")


def run(given: argparse.Namespace) -> int:
    """Tune, save, and measure where there is something to measure on."""
    from tqdm import tqdm

    from rwkv_music.model import load_model
    from rwkv_music.training.finetuning.tuning import (
        TuningConfig,
        TuningReport,
        tune_state,
        tune_weights,
        tuning_windows,
    )

    _refuse_contradictions(given)
    names = ("method", "steps", "batch_size", "learning_rate", "rank", "seed")
    settings = {name: getattr(given, name) for name in names}
    config = TuningConfig(**{name: value for name, value in settings.items() if value is not None})
    model = load_model(given.model)
    windows = tuning_windows(model, given.files, config)
    held_out = _held_out(model, given.withheld, config)
    make_folder(given.output.parent)
    try_file(given.output, "-o")
    before = _nats_per_note(model, held_out)
    with tqdm(total=config.steps, file=sys.stderr, unit="step") as bar:

        def on_step(report: TuningReport) -> None:
            bar.set_postfix_str(f"loss {report.loss:.3f}")
            bar.update()

        if config.method == "state":
            style = tune_state(model, windows, config, on_step=on_step)
        else:
            model = tune_weights(model, windows, config, on_step=on_step)
            style = None
    after = _nats_per_note(model, held_out, style)
    with writing(given.output):
        _save(given.output, model, style)
    print(given.output)
    if before is not None and after is not None:
        print(f"withheld files: {before:.3f} nats per note before, {after:.3f} after")
    if style is not None:
        print(
            f"use it: rwkv-music continue PROMPT.mid --style {given.output} -o out/",
            file=sys.stderr,
        )
    return 0


def _refuse_contradictions(given: argparse.Namespace) -> None:
    """Refuse before minutes of work what would only be noticed behind them."""
    if given.rank is not None and given.method != "lora":
        raise InputError(
            f"--rank {given.rank} is for --method lora, not for {given.method}: leave it out"
        )
    if given.method != "state" and given.output.suffix == ".pth":
        raise InputError(
            f"-o {given.output}: --method {given.method} makes a whole model, which is written as "
            f"safetensors: name it {given.output.with_suffix('.safetensors')}"
        )
    if given.method == "lora":
        from rwkv_music.training.finetuning.lora import imported_peft

        imported_peft()


def _held_out(model: "MusicModel", files: list[str], config: "TuningConfig") -> "HeldOut | None":
    """What to measure on; None without files."""
    from rwkv_music.evaluation import HeldOut
    from rwkv_music.training.finetuning.tuning import tuning_windows

    if not files:
        return None
    windows = tuning_windows(model, files, config)
    return HeldOut(windows, windows.tokenizer)


def _nats_per_note(
    model: "MusicModel", held_out: "HeldOut | None", style: "Style | None" = None
) -> float | None:
    """Of the withheld completions."""
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
