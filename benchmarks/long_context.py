"""What the shipped models' state remembers: perplexity over 1,024, 4,096 and 16,384 tokens.

    python -m benchmarks.long_context bach pop=FOLDER --json benchmarks/results/long_context.json

Held-out pieces are read one after another, 1,024 tokens at a time, once with the state carried
and once with it reset. NAME=FOLDER is a shipped model and the folder that it was trained on; `bach`
needs none. Nothing is drawn at random.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import REPOSITORY, machine, rounded, write_report
from rwkv_music.data import Piece, load_corpus
from rwkv_music.data.pieces import Ids
from rwkv_music.errors import InputError
from rwkv_music.evaluation.long_context import LENGTHS, long_context
from rwkv_music.model import load_model

MODELS = REPOSITORY / "rwkv_music" / "models"
TEXTS = 6
"""Of so many tokens as the longest length, or fewer if the held-out pieces have fewer."""


def main() -> None:
    """Measure each model on the music it did not train on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="NAME[=FOLDER]")
    parser.add_argument("--texts", type=int, default=TEXTS)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--quick", action="store_true", help="marks figures that are no figures")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    report = {
        "machine": machine("rwkv-music"),
        "settings": {"texts": given.texts, "seed": None, "quick": given.quick},
        "rows": [row for model in given.models for row in measure(model, given)],
    }
    write_report(report, given.json)


def measure(named: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each length."""
    name, _, folder = named.partition("=")
    pieces = load_corpus(folder or name).pieces
    card = json.loads((MODELS / f"{name}.json").read_text(encoding="utf-8"))
    texts = held_out_texts(pieces, card["valid_pieces"], given.lengths[-1], given.texts)
    if not texts:
        raise InputError(
            f"{folder} holds too few of the pieces that {name}.json names as held out: give the "
            "folder that the model was trained on"
        )
    rows = long_context(load_model(name), texts, lengths=given.lengths)
    return [
        {"model": name}
        | {
            key: rounded(value, 4) if isinstance(value, float) else value
            for key, value in asdict(row).items()
        }
        for row in rows
    ]


def held_out_texts(
    pieces: Sequence[Piece], names: Iterable[str], length: int, max_texts: int
) -> list[Ids]:
    """At most so many texts of that many targets: the pieces of these names one after another."""
    chosen_names = set(names)
    chosen = (piece.ids for piece in pieces if piece.name in chosen_names)
    tokens = np.concatenate([np.empty(0, "uint16"), *chosen])
    size = length + 1
    starts = islice(range(0, len(tokens) - size + 1, size), max_texts)
    return [tokens[start : start + size] for start in starts]


if __name__ == "__main__":
    main()
