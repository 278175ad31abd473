"""State tuning beside LoRA: what a few files teach a model about others of their kind.

    python -m benchmarks.tuning --music FOLDER [FOLDER ...] --json benchmarks/results/tuning.json

Of each folder, files are drawn by seed: some to learn from (the first 1, 5 and 20 of one list) and
others to measure on. A figure is nats per note of the held-out files' completions, in the windows
that training uses. Whole recordings of one piece in two files are the folder's affair.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import machine, rounded, write_report
from rwkv_music.data import Windows
from rwkv_music.errors import InputError
from rwkv_music.evaluation import HeldOut
from rwkv_music.model import MusicModel, Style, load_model
from rwkv_music.score import load_score, num_bars
from rwkv_music.training.finetuning.state_tuning import tune_state
from rwkv_music.training.finetuning.tuning import tuning_windows
from rwkv_music.training.finetuning.tuning_config import TuningConfig
from rwkv_music.training.finetuning.weight_tuning import tune_weights

SIZES = (1, 5, 20)
METHODS = ("state", "lora")
NUM_HELD_OUT = 10
FEWEST_BARS = 8


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--music", type=Path, nargs="+", required=True)
    parser.add_argument("--model", default="bach")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="one file, two steps")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = [
        row
        for folder in given.music
        for row in measure_folder(folder, given.model, seed=given.seed, quick=given.quick)
    ]
    settings = {
        "model": given.model, "seed": given.seed, "quick": given.quick, "held_out": NUM_HELD_OUT,
    }  # fmt: skip
    report = {"settings": settings, "rows": rows, "machine": machine("rwkv-music", "peft")}
    write_report(report, given.json)


def measure_folder(
    folder: Path, model_name: str, *, seed: int, quick: bool
) -> list[dict[str, Any]]:
    """Every method and number of files on one folder."""
    sizes = SIZES[:1] if quick else SIZES
    num_held_out = 1 if quick else NUM_HELD_OUT
    files = drawn(folder, sizes[-1] + num_held_out, seed)
    model = load_model(model_name)
    held_out = tuning_windows(model, files[sizes[-1] :], TuningConfig())
    untuned = nats_per_note(model, held_out)
    rows = []
    for num_files in sizes:
        for method in METHODS:
            config = TuningConfig(method=method, seed=seed, **({"steps": 2} if quick else {}))
            windows = tuning_windows(model, files[:num_files], config)
            row = tuned_row(model, windows, config, held_out)
            row |= {"music": folder.name, "files": num_files, "untuned": rounded(untuned)}
            print(row, flush=True)
            rows.append(row)
    return rows


def drawn(folder: Path, count: int, seed: int) -> list[Path]:
    """Files that can be read and are long enough, in an order that depends on the seed alone."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".mid", ".mxl"})
    files: list[Path] = []
    for index in np.random.default_rng(seed).permutation(len(paths)):
        path = paths[index]
        if len(files) == count:
            break
        try:
            usable = num_bars(load_score(path)) >= FEWEST_BARS
        except InputError as error:
            print(f"passed over: {error}")
            continue
        if usable:
            files.append(path)
    assert len(files) == count, f"{folder} has {len(files)} files to use, {count} are needed"
    return files


def tuned_row(
    model: MusicModel, windows: Windows, config: TuningConfig, held_out: Windows
) -> dict[str, Any]:
    """Tune once and measure: time on the clock and of the processor, size, likelihood."""
    began, processor = time.perf_counter(), time.process_time()
    style = None
    if config.method == "state":
        style = tune_state(model, windows, config)
        trained = style.num_values
    else:
        before = {name: value.clone() for name, value in model.network.state_dict().items()}
        model = tune_weights(model, windows, config)
        changed = (
            value for name, value in model.network.state_dict().items()
            if not torch.equal(value, before[name])
        )  # fmt: skip
        trained = sum(config.rank * sum(value.shape) for value in changed)
    return {
        "method": config.method,
        "trained_numbers": trained,
        "steps": config.steps,
        "seconds": rounded(time.perf_counter() - began),
        "processor_seconds": rounded(time.process_time() - processor),
        "tuned": rounded(nats_per_note(model, held_out, style)),
    }


def nats_per_note(model: MusicModel, windows: Windows, style: Style | None = None) -> float:
    """Of the completions."""
    held_out = HeldOut(windows, windows.tokenizer)
    return held_out.likelihood(model, style=style).completion.nats_per_note


if __name__ == "__main__":
    main()
