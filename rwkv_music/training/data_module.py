"""The data of a run: a corpus, its split, the windows cut from both sides, and the loader."""

from dataclasses import asdict
from typing import Any

import torch

from rwkv_music.data import Corpus, Windows, load_corpus, split_corpus
from rwkv_music.data.augmentation import RandomAugmentation, RandomLayout
from rwkv_music.data.corpora.mixture import Mixture
from rwkv_music.data.corpora.set_summaries import set_summaries
from rwkv_music.data.loading.long_context_loader import LongContextLoader
from rwkv_music.data.loading.mixture_loader import (
    MixtureLongContextLoader,
    MixtureWindowLoader,
    evenly_spaced,
    spans_of,
)
from rwkv_music.data.loading.prefetch_loader import PrefetchLoader
from rwkv_music.data.loading.process_shard import WHOLE_BATCH, ProcessShard
from rwkv_music.data.loading.random_holes import RandomHoles
from rwkv_music.data.loading.window_loader import Augmentation, WindowLoader
from rwkv_music.evaluation import HeldOut, baselines
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.training.config import TrainingConfig

_MAX_WINDOWS_MEASURED = 2048


class DataModule:
    """A corpus, split into training and validation pieces, and the windows of both.

    Args:
        corpus: It is split by piece; its tokenizer is used.
        config: Sets the split, the windows and the batches.
    """

    def __init__(self, corpus: Corpus, config: TrainingConfig) -> None:
        settings = config.data
        self.corpus = corpus
        self.tokenizer = Tokenizer.from_settings(corpus.tokenizer_settings)
        self.train_pieces, self.valid_pieces = split_corpus(
            corpus, valid_fraction=settings.valid_fraction
        )
        bars = {"prompt_bars": settings.prompt_bars, "completion_bars": settings.completion_bars}
        self.train = Windows(self.train_pieces, self.tokenizer, **bars)
        self.valid = Windows(self.valid_pieces, self.tokenizer, **bars)
        self._settings, self._layout, self._seed = settings, config.layout, config.run.seed

    @classmethod
    def from_config(cls, config: TrainingConfig) -> "DataModule":
        """Load the corpus of a config, split it and cut its windows."""
        settings = config.data
        corpus = load_corpus(settings.corpus, unfold_repeats=settings.unfold_repeats)
        return cls(corpus, config)

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
            "windows_measured": len(self._measured()),
            "valid_pieces": [piece.name for piece in self.valid.pieces],
            "too_short": self.train.too_short + self.valid.too_short,
            "skipped": dict(self.corpus.skipped),
            **({"sets": self._sets()} if isinstance(self.corpus, Mixture) else {}),
        }

    def _sets(self) -> list[dict[str, Any]]:
        """Return what config.json says about each set of a mixture."""
        assert isinstance(self.corpus, Mixture)
        return set_summaries(
            self.corpus, self.train.pieces, self.valid.pieces, self.tokenizer.vocabulary
        )

    def held_out(self) -> HeldOut:
        """Return the windows to evaluate: all of them, or 2,048 evenly spaced ones of more.

        Of a mixture, each set contributes in proportion to its weight if there are more.
        """
        spans = self.valid.spans()
        examples = (self.valid.example(spans[index]) for index in self._measured())
        return HeldOut(examples, self.tokenizer)

    def _measured(self) -> list[int]:
        """Return which of the windows are evaluated."""
        spans = self.valid.spans()
        sets, weights = [range(len(spans))], [1.0]
        if isinstance(self.corpus, Mixture):
            pieces = self.corpus.ranges(self.valid.pieces)
            sets, weights = [spans_of(spans, own) for own in pieces], self.corpus.weights
        return evenly_spaced(sets, weights, most=_MAX_WINDOWS_MEASURED)

    def baselines(self, held_out: HeldOut) -> dict[str, dict[str, Any]]:
        """Return the losses of uniform, unigram and 5-gram models on the held-out windows."""
        return baselines([piece.ids for piece in self.train_pieces], held_out)

    def open_loader(
        self, device: torch.device | str = "cpu", *, shard: ProcessShard = WHOLE_BATCH
    ) -> PrefetchLoader:
        """Return an endless loader: packed windows, or whole pieces with a carried state.

        Args:
            device: The device to put batches on.
            shard: The part of each batch to load.
        """
        augment, holes = None, None
        if self._settings.augmentation:
            augment = RandomAugmentation(
                vocabulary=self.tokenizer.vocabulary,
                drop_fraction=self._settings.drop_parts,
                layout=RandomLayout(**asdict(self._layout)),
            )
        if self._settings.carry_state:
            return PrefetchLoader(self._piece_loader(shard, augment), device=device)
        if self._settings.hole_fraction:
            holes = RandomHoles(tokenizer=self.tokenizer, fraction=self._settings.hole_fraction)
        return PrefetchLoader(self.window_loader(shard, augment, holes), device=device)

    def window_loader(
        self,
        shard: ProcessShard = WHOLE_BATCH,
        augment: Augmentation | None = None,
        holes: Augmentation | None = None,
    ) -> WindowLoader:
        """Return the loader of windows, which draws from the sets of a mixture by weight."""
        settings: dict[str, Any] = {
            "batch_size": self._settings.batch_size,
            "seed": self._seed,
            "augment": augment,
            "holes": holes,
            "shard": shard,
        }
        if not isinstance(self.corpus, Mixture):
            return WindowLoader(self.train, **settings)
        return MixtureWindowLoader(
            self.train, ranges_of=self.corpus.ranges, weights=self.corpus.weights, **settings
        )

    def _piece_loader(self, shard: ProcessShard, augment: Augmentation | None) -> LongContextLoader:
        settings: dict[str, Any] = {
            "batch_size": self._settings.batch_size,
            "context_length": self._settings.context_length,
            "seed": self._seed,
            "augment": augment,
            "shard": shard,
        }
        if not isinstance(self.corpus, Mixture):
            return LongContextLoader(self.train_pieces, **settings)
        return MixtureLongContextLoader(
            self.train_pieces, ranges_of=self.corpus.ranges, weights=self.corpus.weights, **settings
        )
