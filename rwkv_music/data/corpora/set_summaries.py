"""What a run directory and a model card say about each set of a mixture."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rwkv_music.data.corpora.mixture import Mixture
from rwkv_music.data.pieces import Piece
from rwkv_music.tokenizer import Vocabulary


def set_summaries(
    mixture: Mixture, train: Sequence[Piece], valid: Sequence[Piece], vocabulary: Vocabulary
) -> list[dict[str, Any]]:
    """Return source, weight, terms and sizes of each set in JSON values.

    Args:
        mixture: The mixture.
        train: Pieces that are trained on, in the order of the mixture.
        valid: Pieces that are held out, in the same order.
        vocabulary: Of their ids.
    """
    splits = {"train": train, "valid": valid}
    ranges = {split: mixture.ranges(pieces) for split, pieces in splits.items()}
    summaries = []
    for index, member in enumerate(mixture.sets):
        summary = {
            "name": member.name,
            "source": member.source,
            "weight": member.weight,
            "content_sha256": member.content_hash,
            **member.about.texts,
        }
        for split, pieces in splits.items():
            own = [pieces[piece] for piece in ranges[split][index]]
            summary[f"pieces_{split}"] = len(own)
            summary[f"notes_{split}"] = sum(num_notes(piece, vocabulary) for piece in own)
            summary[f"tokens_{split}"] = sum(len(piece.ids) for piece in own)
        summaries.append(summary)
    return summaries


def num_notes(piece: Piece, vocabulary: Vocabulary) -> int:
    """Return the number of notes of a piece; each has one duration."""
    durations = vocabulary.duration
    return int(np.count_nonzero((piece.ids >= durations.start) & (piece.ids < durations.stop)))
