"""What narrower weights cost on real music: nats per token of whole pieces, read step by step."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from benchmarks.decoders import PACKAGE, Implementation, implementation_names, make_implementation
from benchmarks.measuring import rounded
from rwkv_music.data import load_corpus, split_corpus
from rwkv_music.model import load_model

_BATCH = 16
_UNSCORED = -100
"""Target of a position after a piece's end; cross entropy leaves it out."""


def music_losses(source: str, model_name: str, most_pieces: int) -> dict[str, Any]:
    """The loss of every one of our precisions on the same pieces.

    Args:
        source: "bach" for the chorales that the shipped model has not seen, or a folder of MIDI.
        model_name: What `load_model` takes.
        most_pieces: At most so many, the first by name.
    """
    model = load_model(model_name)
    tokenizer = model.tokenizer
    corpus = load_corpus(source, tokenizer)
    held_out = split_corpus(corpus)[1] if source == "bach" else list(corpus.pieces)
    pieces = sorted(held_out, key=lambda piece: piece.name)[:most_pieces]
    streams = sorted((piece.ids for piece in pieces), key=len)
    ours = [key for key in implementation_names() if key[0] != PACKAGE]
    losses = {
        key: nats_per_token(make_implementation(*key, model=model.network, path=Path()), streams)
        for key in ours
    }
    baseline = next(loss for (_, precision), loss in losses.items() if precision == "float32")
    return {
        "source": Path(corpus.name).name,
        "content_sha256": corpus.content_hash,
        "model": model_name,
        "pieces": len(pieces),
        "tokens": sum(len(ids) - 1 for ids in streams),
        "rows": [
            {
                "implementation": name,
                "precision": precision,
                "nats_per_token": rounded(loss, 6),
                "more_than_float32": rounded(loss - baseline, 3),
            }
            for (name, precision), loss in losses.items()
        ],
    }


def nats_per_token(implementation: Implementation, streams: list[np.ndarray]) -> float:
    """Mean -ln p of every token after the first, each piece from an empty state."""
    nats, tokens = 0.0, 0
    for first in range(0, len(streams), _BATCH):
        ids, targets = padded(streams[first : first + _BATCH])
        state = implementation.start(len(ids))
        for column, target in zip(ids.unbind(1), targets.unbind(1), strict=True):
            logits, state = implementation.step(column, state)
            nats += float(
                F.cross_entropy(logits, target, reduction="sum", ignore_index=_UNSCORED).double()
            )
        tokens += int((targets != _UNSCORED).sum())
    return nats / tokens


def padded(streams: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Tokens and their targets, [B, longest - 1]; after a piece's end there is nothing to score."""
    longest = max(len(stream) for stream in streams)
    ids = torch.zeros(len(streams), longest, dtype=torch.int64)
    targets = torch.full((len(streams), longest), _UNSCORED)
    for row, stream in enumerate(streams):
        tokens = torch.from_numpy(stream.astype(np.int64))
        ids[row, : len(tokens)] = tokens
        targets[row, : len(tokens) - 1] = tokens[1:]
    return ids[:, :-1], targets[:, :-1]
