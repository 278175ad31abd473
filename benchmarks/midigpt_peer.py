"""Time `midigpt` from request to score, beside ours, on the same prompt.

    pip install --no-deps midigpt
    python -m benchmarks.midigpt_peer ENCODER.json --json benchmarks/results/midigpt_peer.json

Its trained weights are for non-commercial use only, so its network has random weights here, which
say nothing of the music: only speed and validity are compared. ENCODER.json is the file
models/yellow_encoder.json of its repository; the network is its default, six layers of 512
channels. Ours has the same layers and channels and random weights, and is the shipped model as
well. A random network of `midigpt` hardly ends a bar, so that the number of notes per bar is
limited. Four bars are added to four bars of one part. Times are processor times of one thread.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import symusic
import torch

from benchmarks.decoders import perturbed_model
from benchmarks.measuring import machine, rounded, write_report
from rwkv_music.data import load_prompt
from rwkv_music.generation import continue_score
from rwkv_music.model import ModelConfig, MusicModel, load_model
from rwkv_music.score import save_score, take_bars
from rwkv_music.tokenizer import Tokenizer

BARS = 4
LAYERS, CHANNELS = 6, 512
Run = Callable[[int], tuple[int, bool]]
"""Continues the prompt with a seed; returns the number of new notes, and whether all are valid."""


def main() -> None:
    """Measure everyone on one prompt, several seeds each."""
    given = arguments()
    torch.set_num_threads(1)
    prompt = one_part_prompt()
    contestants: dict[str, Run] = {
        "midigpt, 6x512, random": midigpt(prompt, given),
        "rwkv-music, 6x512, random": ours(prompt, random_model(given.seed)),
        "rwkv-music, general": ours(prompt, load_model("general")),
    }
    rows = [{"who": name, **measure(run, given)} for name, run in contestants.items()]
    report = {
        "machine": machine("rwkv-music") | {"midigpt": metadata.version("midigpt")},
        "settings": {name: getattr(given, name) for name in ("seed", "repeats", "most_notes")},
        "rows": rows,
    }
    write_report(report, given.json)


def arguments() -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder", type=Path, help="encoder configuration of midigpt")
    parser.add_argument("--most-notes", type=int, default=16, help="onsets per bar of midigpt")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def measure(run: Run, given: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one contestant, after a warm-up."""
    run(given.seed)
    seconds, notes, valid = [], [], []
    for seed in range(given.seed + 1, given.seed + 1 + given.repeats):
        begin = time.process_time()
        count, is_valid = run(seed)
        seconds.append(time.process_time() - begin)
        notes.append(count)
        valid.append(is_valid)
    rates = [count / taken for count, taken in zip(notes, seconds, strict=True)]
    return {
        "notes": notes,
        "processor_seconds": [rounded(taken) for taken in seconds],
        "notes_per_processor_second": rounded(statistics.median(rates)),
        "valid": sum(valid),
        "runs": len(valid),
    }


def one_part_prompt() -> symusic.Score:
    """Return four bars of the built-in prompt's melody."""
    score = take_bars(load_prompt("ballad"), 0, BARS)
    for track in score.tracks[1:]:
        track.notes.clear()
    score.tracks = score.tracks[:1]
    return score


def random_model(seed: int) -> MusicModel:
    """Return a model of the same layers and channels as midigpt's default, with random weights."""
    tokenizer = Tokenizer()
    config = ModelConfig(vocab_size=tokenizer.vocab_size, num_layers=LAYERS, dim=CHANNELS)
    return MusicModel(perturbed_model(config, seed), tokenizer.settings)


def ours(prompt: symusic.Score, model: MusicModel) -> Run:
    """Return a function that continues the prompt with a model of ours."""
    length = BARS * 4 * prompt.ticks_per_quarter

    def run(seed: int) -> tuple[int, bool]:
        (piece,) = continue_score(model, prompt, bars=BARS, candidates=1, seed=seed)
        notes = [note for track in piece.new.tracks for note in track.notes]
        is_whole = piece.num_bars == BARS
        return len(notes), is_whole and all(
            note.duration > 0 and note.time + note.duration <= length for note in notes
        )

    return run


def midigpt(prompt: symusic.Score, given: argparse.Namespace) -> Run:
    """Return a function that continues the prompt with midigpt."""
    core, top = import_module("midigpt._core"), import_module("midigpt")
    inference = import_module("midigpt.inference")
    attributes = import_module("midigpt.attributes.base").AttributeAnalyzer
    tokenizers = import_module("midigpt.tokenizer.tokenizer")
    network = import_module("midigpt.inference.model").get_model_class("gpt2")
    encoder = core.EncoderConfig.from_json(given.encoder.read_text(encoding="utf-8"))
    analyzer = attributes.from_config(encoder)
    tokenizer = tokenizers.Tokenizer(encoder, analyzer)
    torch.manual_seed(given.seed)
    sizes = network.Config(
        vocab_size=tokenizer._vocab.size(),  # noqa: SLF001 - it has no public name
        n_embd=CHANNELS,
        n_layer=LAYERS,
        n_head=8,
    )
    engine = inference.InferenceEngine(network(sizes).eval(), tokenizer, analyzer)
    engine.warmup()

    def run(seed: int) -> tuple[int, bool]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "prompt.mid"
            save_score(prompt, path)
            score = top.Score.from_midi(str(path))
        bars = len(score.tracks[0].bars)
        score.tracks[0].bars += [top.Bar() for _ in range(BARS)]
        wanted = list(range(bars, bars + BARS))
        config = inference.InferenceConfig(
            top_p=0.95,
            model_dim=8,
            bars_per_step=BARS,
            mask_mode="attention",
            density_hard_limit=given.most_notes,
            seed=seed,
        )
        tracks = [inference.TrackPrompt(id=0, bars=wanted, autoregressive=True)]
        request = inference.GenerationRequest(tracks=tracks, config=config)
        result = engine.session(score, request).run()
        new = result.tracks[0].bars[bars : bars + BARS]
        ticks = 4 * result.resolution
        notes = [note for bar in new for note in bar.notes]
        return sum(len(bar.notes) for bar in new), len(new) == BARS and all(
            note.duration_ticks > 0 and note.onset_ticks < ticks for note in notes
        )

    return run


if __name__ == "__main__":
    main()
