"""The data of a run: a corpus, its split, the windows cut from both sides, and the loader."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rwkv_music.data import Corpus, Windows, load_corpus, split_corpus
from rwkv_music.data.augmentation import RandomAugmentation
from rwkv_music.data.loading.long_context_loader import LongContextLoader
from rwkv_music.data.loading.prefetch_loader import BatchLoader, PrefetchLoader
from rwkv_music.data.loading.process_shard import WHOLE_BATCH, ProcessShard
from rwkv_music.data.loading.window_loader import WindowLoader
from rwkv_music.data.pieces import Piece
from rwkv_music.data.worker_pool import Progress
from rwkv_music.evaluation import HeldOut, baselines
from rwkv_music.tokenizer import Tokenizer, Vocabulary
from rwkv_music.training.config import TrainingConfig

_MAX_WINDOWS_MEASURED = 2048


@dataclass(frozen=True)
class DataModule:
    """A corpus, split into training and validation pieces, and the windows of both."""

    tokenizer: Tokenizer
    corpus: Corpus
    train_pieces: list[Piece]
    valid_pieces: list[Piece]
    train: Windows
    valid: Windows

    @classmethod
    def from_corpus(cls, corpus: Corpus, config: TrainingConfig) -> "DataModule":
        """Split a corpus by piece and cut its windows; the tokenizer is the corpus's."""
        tokenizer = Tokenizer.from_settings(corpus.tokenizer_settings)
        train, valid = split_corpus(corpus, valid_fraction=config.data.valid_fraction)
        bars = {
            "prompt_bars": config.data.prompt_bars,
            "completion_bars": config.data.completion_bars,
        }
        return cls(
            tokenizer=tokenizer,
            corpus=corpus,
            train_pieces=train,
            valid_pieces=valid,
            train=Windows(train, tokenizer, **bars),
            valid=Windows(valid, tokenizer, **bars),
        )

    @classmethod
    def from_config(cls, config: TrainingConfig, progress: Progress | None = None) -> "DataModule":
        """Load the corpus of a config, split it and cut its windows."""
        return cls.from_corpus(load_corpus(config.data.corpus, progress=progress), config)

    def summary(self) -> dict[str, Any]:
        """Return the corpus section of config.json."""
        return {
            "name": self.corpus.name,
            "content_sha256": self.corpus.content_hash,
            "pieces_train": len(self.train.pieces),
            "pieces_valid": len(self.valid.pieces),
            "tokens_train": sum(len(piece.ids) for piece in self.train.pieces),
            "tokens_valid": sum(len(piece.ids) for piece in self.valid.pieces),
            "windows_valid": len(self.valid),
            "windows_measured": min(len(self.valid), _MAX_WINDOWS_MEASURED),
            "valid_pieces": [piece.name for piece in self.valid.pieces],
            "too_short": self.train.too_short + self.valid.too_short,
            "set_aside": dict(self.corpus.skipped),
        }

    def held_out(self) -> HeldOut:
        """Return the windows to evaluate: all of them, or 2,048 evenly spaced ones of more."""
        spans = self.valid.spans()
        num_windows = min(len(spans), _MAX_WINDOWS_MEASURED)
        indices = np.linspace(0, len(spans) - 1, num_windows).round().astype(int).tolist()
        return HeldOut((self.valid.example(spans[index]) for index in indices), self.tokenizer)

    def baselines(self, held_out: HeldOut) -> dict[str, dict[str, Any]]:
        """Return the losses of uniform, unigram and 5-gram models on the held-out windows."""
        return baselines([piece.ids for piece in self.train_pieces], held_out)


def open_loader(
    pieces: Sequence[Piece],
    windows: Windows,
    config: TrainingConfig,
    vocabulary: Vocabulary,
    *,
    device: str,
    shard: ProcessShard = WHOLE_BATCH,
) -> PrefetchLoader:
    """Return an endless loader of batches: packed windows, or whole pieces with a carried state.

    Args:
        pieces: The training pieces.
        windows: Cut from them.
        config: Sets which of the two, their sizes and the augmentation.
        vocabulary: Of the tokens, needed to augment them.
        device: The device to put batches on.
        shard: The part of each batch to load.
    """
    augment = None
    if config.data.augmentation:
        augment = RandomAugmentation(vocabulary=vocabulary, drop_fraction=config.data.drop_parts)
    loader: BatchLoader
    if config.data.carry_state:
        loader = LongContextLoader(
            pieces,
            batch_size=config.data.batch_size,
            context_length=config.data.context_length,
            seed=config.run.seed,
            augment=augment,
            shard=shard,
        )
    else:
        loader = WindowLoader(
            windows,
            batch_size=config.data.batch_size,
            seed=config.run.seed,
            augment=augment,
            shard=shard,
        )
    return PrefetchLoader(loader, device=device)
