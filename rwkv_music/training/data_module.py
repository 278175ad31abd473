"""What a run trains on and is measured on."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from rwkv_music.data import Corpus, Windows, load_corpus, split_corpus
from rwkv_music.data.pieces import Piece
from rwkv_music.data.worker_pool import Progress
from rwkv_music.evaluation import HeldOut, baselines
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.training.config import TrainingConfig

_MOST_WINDOWS_MEASURED = 2048


@dataclass(frozen=True)
class Material:
    """A corpus, its split, and the windows cut from both sides."""

    tokenizer: Tokenizer
    corpus: Corpus
    train_pieces: list[Piece]
    valid_pieces: list[Piece]
    train: Windows
    valid: Windows

    def summary(self) -> dict[str, Any]:
        """What config.json says of the data."""
        return {
            "name": self.corpus.name,
            "content_sha256": self.corpus.content_hash,
            "pieces_train": len(self.train.pieces),
            "pieces_valid": len(self.valid.pieces),
            "tokens_train": sum(len(piece.ids) for piece in self.train.pieces),
            "tokens_valid": sum(len(piece.ids) for piece in self.valid.pieces),
            "windows_valid": len(self.valid),
            "windows_measured": min(len(self.valid), _MOST_WINDOWS_MEASURED),
            "valid_pieces": [piece.name for piece in self.valid.pieces],
            "too_short": self.train.too_short + self.valid.too_short,
            "set_aside": dict(self.corpus.set_aside),
        }

    def held_out(self) -> HeldOut:
        """The windows to measure on: all of them, or 2,048 evenly spaced ones of more."""
        spans = self.valid.spans()
        number = min(len(spans), _MOST_WINDOWS_MEASURED)
        kept = np.linspace(0, len(spans) - 1, number).round().astype(int).tolist()
        return HeldOut((self.valid.example(spans[place]) for place in kept), self.tokenizer)

    def baselines(self, held_out: HeldOut) -> dict[str, dict[str, Any]]:
        """What uniform, unigram and 5-gram models of the training pieces give the same windows."""
        return baselines([piece.ids for piece in self.train_pieces], held_out)


def material_of(corpus: Corpus, config: TrainingConfig) -> Material:
    """Split a corpus by piece, and cut its windows; the tokenizer is the corpus's."""
    tokenizer = Tokenizer.from_settings(corpus.tokenizer_settings)
    train, valid = split_corpus(corpus, valid_share=config.data.valid_fraction)
    bars = {"prompt_bars": config.data.prompt_bars, "completion_bars": config.data.completion_bars}
    return Material(
        tokenizer=tokenizer,
        corpus=corpus,
        train_pieces=train,
        valid_pieces=valid,
        train=Windows(train, tokenizer, **bars),
        valid=Windows(valid, tokenizer, **bars),
    )


def prepare_material(config: TrainingConfig, progress: Progress | None = None) -> Material:
    """The same from the corpus that the config names."""
    return material_of(load_corpus(config.data.corpus, progress=progress), config)
