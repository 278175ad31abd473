"""Training several seeds of a benchmark, and the figures of its parts."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from rwkv_music.evaluation.benchmarks.chorale_grid import read_chorales, with_new_soprano
from rwkv_music.evaluation.benchmarks.frames import read_polyphonic_set
from rwkv_music.evaluation.benchmarks.jsb import JSBSettings, nats_per_slot, train_chorales
from rwkv_music.evaluation.benchmarks.polyphonic import FrameSettings, nats_per_frame, train_frames

Progress = Callable[[str], None]
_PROGRESS_EVERY = 50
_KEYS = range(-3, 4)


def jsb_report(
    folder: Path, settings: JSBSettings, seeds: Sequence[int], progress: Progress
) -> dict[str, Any]:
    """Train a model of the JSB chorales with each seed, and score valid and test part.

    Args:
        folder: With the folders train, valid and test.
        settings: Of every model.
        seeds: One model each; their probabilities are averaged.
        progress: Called with a line of text now and then.

    Raises:
        InputError: If the files are missing or damaged.
    """
    parts = {split: read_chorales(folder, split) for split in ("train", "valid", "test")}
    start = time.perf_counter()
    models = [
        train_chorales(parts["train"], settings, seed=seed, progress=_progress(progress, seed))
        for seed in seeds
    ]
    minutes = (time.perf_counter() - start) / 60
    scored = {
        "valid": parts["valid"],
        "test": parts["test"],
        "test, new soprano": with_new_soprano(parts["test"], parts["train"]),
    }
    rows = []
    for name, chorales in scored.items():
        rows.append(
            {
                "part": name,
                "pieces": len(chorales),
                "slots": sum(chorale.symbols.size for chorale in chorales),
                "first model, own key": nats_per_slot(models[:1], chorales, keys=False),
                "first model, all keys": nats_per_slot(models[:1], chorales),
                "all models, all keys": nats_per_slot(models, chorales),
            }
        )
        progress(f"{name}: {rows[-1]['all models, all keys']:.4f} nats per slot")
    return {"benchmark": "jsb", **_about(settings, seeds, models, minutes), "rows": rows}


def polyphonic_report(
    folder: Path,
    names: Sequence[str],
    settings: FrameSettings,
    seeds: Sequence[int],
    progress: Progress,
) -> dict[str, Any]:
    """Train models of sets of polyphonic frames with each seed, and score valid and test part.

    Args:
        folder: With the MATLAB files.
        names: Of the sets.
        settings: Of every model.
        seeds: One model of a set each; their probabilities are averaged.
        progress: Called with a line of text now and then.

    Raises:
        InputError: If the files are missing or damaged.
        MissingExtraError: If SciPy is not installed.
    """
    rows = []
    about: dict[str, Any] = {}
    for name in names:
        parts = read_polyphonic_set(folder, name)
        start = time.perf_counter()
        models = [
            train_frames(parts.train, settings, seed=seed, progress=_progress(progress, seed))
            for seed in seeds
        ]
        minutes = (time.perf_counter() - start) / 60
        keys = [key for key in _KEYS if abs(key) <= settings.semitones]
        row = {"set": name, "minutes": round(minutes, 1)}
        for split, pieces in (("valid", parts.valid), ("test", parts.test)):
            row[split] = nats_per_frame(models, pieces)
            row[f"{split}, {len(keys)} keys"] = nats_per_frame(models, pieces, keys)
        progress(f"{name}: {row['test']:.3f} nats per frame of the test part")
        about = _about(settings, seeds, models, minutes)
        rows.append(row)
    return {"benchmark": "polyphonic", **about, "rows": rows}


def _about(
    settings: JSBSettings | FrameSettings,
    seeds: Sequence[int],
    models: Sequence[nn.Module],
    minutes: float,
) -> dict[str, Any]:
    return {
        "settings": dataclasses.asdict(settings),
        "seeds": list(seeds),
        "parameters": [sum(p.numel() for p in model.parameters()) for model in models],
        "minutes": round(minutes, 1),
    }


def _progress(progress: Progress, seed: int) -> Callable[[int, float], None]:
    losses: list[float] = []

    def after_step(step: int, loss: float) -> None:
        losses.append(loss)
        if step % _PROGRESS_EVERY == 0:
            mean = sum(losses) / len(losses)
            progress(f"seed {seed}, step {step}: {mean:.4f} nats")
            losses.clear()

    return after_step
