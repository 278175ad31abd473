"""Turn the last run of the general model into the shipped `general`, and write its card.

    python -m benchmarks.ship_general runs/general-4 --earlier runs/general-3
        --before rwkv_music/models/general.json --stores stores/*
        --evaluation evaluation/report.json --holes holes.json

Writes general.safetensors (bfloat16), general.json and general.md into rwkv_music/models. The
evaluation is that of `rwkv-music evaluate`, on the held-out pieces of the stores, with `pop` beside
it; the figures of holes are those of `benchmarks.holes`. `--before` is the record of the model with
whose weights the first of the runs began.
"""

import argparse
import json
import platform
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.model_card import reflowed, sets_table
from benchmarks.ship_model import MODELS, threads_in_words
from rwkv_music.data import Store
from rwkv_music.evaluation.familiarity import prompt_nats
from rwkv_music.model import MusicModel, load_model, save_checkpoint
from rwkv_music.training.run.directory import RunDirectory

NAME = "general"
PIECES_FOR_LIMIT = 10
"""Held-out pieces of each store whose likelihood sets the limit of what the model knows."""
_FIGURES_OF_SETS = ("name", "weight", "content_sha256", "title", "licence", "attribution", "url")


def main() -> None:
    """Ship the best checkpoint of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--earlier", type=Path, nargs="*", default=[], help="runs before this one")
    parser.add_argument("--before", type=Path, required=True, help="record of an earlier model")
    parser.add_argument("--stores", type=Path, nargs="+", required=True)
    parser.add_argument("--evaluation", type=Path, required=True)
    parser.add_argument("--holes", type=Path, required=True)
    given = parser.parse_args()
    runs = [RunDirectory(path) for path in (*given.earlier, given.run)]
    before = load_json(given.before)
    record = ship(runs, before, load_json(given.evaluation), load_json(given.holes))
    record["held_out_nats_per_token_99"] = held_out_limit(load_model(NAME), given.stores)
    text = json.dumps(record, indent=1) + "\n"
    (MODELS / f"{NAME}.json").write_text(text, encoding="utf-8")
    (MODELS / f"{NAME}.md").write_text(card(record) + "\n", encoding="utf-8")
    print(card(record))


def load_json(path: Path) -> dict[str, Any]:
    """Read a report."""
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def held_out_limit(model: MusicModel, stores: list[Path]) -> float:
    """Return the nats per token that the beginnings of 99 of 100 held-out pieces stay below."""
    nats = []
    for path in stores:
        store = Store(path)
        for piece in store.valid[:PIECES_FOR_LIMIT]:
            value = prompt_nats(model, store.tokenizer.decode(piece.ids))
            if value is not None:
                nats.append(value)
    return round(float(np.quantile(nats, 0.99)), 2)


def ship(
    runs: list[RunDirectory],
    before: dict[str, Any],
    evaluation: dict[str, Any],
    holes: dict[str, Any],
) -> dict[str, Any]:
    """Store the best checkpoint of the last run, and return all that the card says."""
    last = runs[-1]
    config = last.config()
    best = load_model(last.path)
    commands = [without_folders(run.config()["command"]) for run in runs]
    record = {"command": commands[-1], "step": best.metadata["step"], "card": f"{NAME}.md"}
    path = MODELS / f"{NAME}.safetensors"
    save_checkpoint(replace(best, metadata=record), path, dtype=torch.bfloat16)
    sets = [
        {key: value for key, value in member.items() if key in _FIGURES_OF_SETS or "_" in key}
        for member in config["corpus"]["sets"]
    ]
    return {
        **record,
        "name": NAME,
        "commands": before["commands"] + commands,
        "steps": before["steps"] + [run.metrics()[-1]["step"] for run in runs],
        "training_seconds": before["training_seconds"]
        + [round(run.metrics()[-1]["elapsed_seconds"]) for run in runs],
        "weights_bytes": path.stat().st_size,
        "parameters": config["parameters"],
        "model": config["model"],
        "versions": config["versions"],
        "machine": f"{platform.machine()}, {threads_in_words(config['threads'])}",
        "sets": sets,
        "valid_pieces": config["corpus"]["valid_pieces"],
        "evaluation": {
            name: {"pieces": figures["pieces"], "likelihood": figures["likelihood"]}
            for name, figures in evaluation["sets"].items()
        },
        "holes": {"rows": holes["rows"]},
    }


def without_folders(command: str) -> str:
    """Return a command with the names of its folders instead of their paths.

    Example:
        >>> without_folders("rwkv-music train --corpus /a/stores/pop909=2 --out /b/run")
        'rwkv-music train --corpus stores/pop909=2 --out runs/run'
    """
    command = re.sub(r"/\S*/stores/", "stores/", command)
    return re.sub(r"(--(?:out|init)) /\S*/", r"\1 runs/", command)


def card(record: dict[str, Any]) -> str:
    """Return the model card."""
    minutes = sum(record["training_seconds"]) / 60
    commands = "\n".join(f"    {command}" for command in record["commands"])
    model = record["model"]
    parts = (
        f"# {NAME}: a small RWKV-7 that continues and fills music of many kinds",
        f"""{record["parameters"] / 1e6:.2f} million parameters ({model["num_layers"]} layers of
{model["dim"]} channels), stored as bfloat16 in {record["weights_bytes"] / 1e6:.1f} MB. It continues
songs, piano music, chamber music, drums and band music in any order of tracks, writes bars in the
middle of a piece, and writes parts to other parts. Every figure here was measured on the weights;
`{NAME}.json` contains all settings and versions.""",
        "## How it was made",
        commands,
        f"""The first run began with the weights of `pop`. {sum(record["steps"])} steps of 8
windows, {minutes:.0f} minutes on {record["machine"]}, of a machine with much other load: less than
this data deserves. Each run begins with the weights of the one before. Half of the
windows are holes, half of which state controls; keys, tempos, velocities, and
the layout of the parts are varied at random.""",
        "## Data",
        """Only music in the public domain, or under CC0, CC BY, MIT or BSD terms. The stores were
made by `tools/prepare_public_mixture.py`; the same music is in the same split, also in another key
or arrangement.""",
        sets_table(record["sets"]),
        """Some songs of POP909 that are held out here were among the training songs of `pop`, with
whose weights the first run began; `pop.json` lists the others. Two of the 13 held-out pieces of
Chopin (055-1-BH-001 and -002) were training pieces of the first two runs.""",
        "## Likelihood of held-out completions",
        """Nats per note of eight bars after four, of pieces that are held out, by
`rwkv-music evaluate` (docs/evaluation.md says what the layouts are).""",
        likelihood_table(record["evaluation"]),
        "## Holes",
        """Bars in the middle of held-out windows, with four bars in front and four behind, by
`benchmarks/holes.py`. Beside the model: what it writes when it only continues, a copy of the bars
before, and what stands in the hole of another piece. Nats per note behind are those of the bars
behind the hole, given what was written in it.""",
        holes_table(record["holes"]),
        "## Limits",
        """The model was trained for a short time. It knows how parts and bars are laid out, and it
keeps key and metre, but not the form of a piece. Do not expect a long continuation to go
anywhere. It hardly follows controls yet (docs/experiments.md).""",
    )
    return reflowed("\n\n".join(parts))


def likelihood_table(evaluation: dict[str, Any]) -> str:
    """Return nats a note by set, layout and model as a table."""
    layouts = [row for figures in evaluation.values() for row in figures["likelihood"].values()]
    models = sorted({model for row in layouts for model in row["models"]})
    rows = [f"| set | layout | {' | '.join(models)} |", f"|-|-|{'-:|' * len(models)}"]
    for name, figures in evaluation.items():
        for layout, row in figures["likelihood"].items():
            measured = row["models"]
            cells = [f"{measured[model]['nats_per_note']:.2f}" for model in models]
            rows.append(f"| {name} | {layout} | {' | '.join(cells)} |")
    return "\n".join(rows)


def holes_table(holes: dict[str, Any]) -> str:
    """Return the figures of holes as a table."""
    rows = [
        "| set | bars | parts | method | onset F1 | chroma | density error | nats behind |",
        "|-|-:|-|-|-:|-:|-:|-:|",
    ]
    for row in holes["rows"]:
        head = f"| {row['set']} | {row['bars']} | {row['parts']}"
        for method, figures in row["figures"].items():
            if method == "truth":
                cells = ["", "", "", f"{figures['nats_per_note_behind']:.2f}"]
            else:
                names = ("onset_f1", "chroma_similarity", "density_error", "nats_per_note_behind")
                cells = [f"{figures[name]:.2f}" for name in names]
            rows.append(f"{head} | {method} | {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
