"""The data of a run: a corpus, its split, the windows cut from both sides, and the loader."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

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
from rwkv_music.data.loading.prefetch_loader import BatchLoader, PrefetchLoader
from rwkv_music.data.loading.process_shard import WHOLE_BATCH, ProcessShard
from rwkv_music.data.loading.random_holes import RandomHoles
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
            "windows_measured": len(self._measured()),
            "valid_pieces": [piece.name for piece in self.valid.pieces],
            "too_short": self.train.too_short + self.valid.too_short,
            "set_aside": dict(self.corpus.skipped),
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
            sets, weights = [spans_of(spans, each) for each in pieces], self.corpus.weights
        return evenly_spaced(sets, weights, most=_MAX_WINDOWS_MEASURED)

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
    corpus: Corpus | None = None,
) -> PrefetchLoader:
    """Return an endless loader of batches: packed windows, or whole pieces with a carried state.

    Args:
        pieces: The training pieces.
        windows: Cut from them.
        config: Sets which of the two, their sizes and the augmentation.
        vocabulary: Of the tokens, needed to augment them.
        device: The device to put batches on.
        shard: The part of each batch to load.
        corpus: Needed if it is a mixture, whose sets have weights.
    """
    augment = None
    if config.data.augmentation:
        augment = RandomAugmentation(
            vocabulary=vocabulary,
            drop_fraction=config.data.drop_parts,
            layout=RandomLayout(**asdict(config.layout)),
        )
    settings: dict[str, Any] = {
        "batch_size": config.data.batch_size,
        "seed": config.run.seed,
        "augment": augment,
        "shard": shard,
    }
    if not config.data.carry_state:
        settings["holes"] = random_holes(config, windows.tokenizer)
        return PrefetchLoader(window_loader(windows, corpus, **settings), device=device)
    settings["context_length"] = config.data.context_length
    loader: BatchLoader
    if isinstance(corpus, Mixture):
        loader = MixtureLongContextLoader(
            pieces, ranges_of=corpus.ranges, weights=corpus.weights, **settings
        )
    else:
        loader = LongContextLoader(pieces, **settings)
    return PrefetchLoader(loader, device=device)


def window_loader(windows: Windows, corpus: Corpus | None, **settings: Any) -> WindowLoader:  # noqa: ANN401
    """Return the loader of windows, which draws from the sets of a mixture by weight.

    Args:
        windows: The windows.
        corpus: The corpus that they are cut from.
        settings: As of `WindowLoader`.
    """
    if not isinstance(corpus, Mixture):
        return WindowLoader(windows, **settings)
    return MixtureWindowLoader(windows, ranges_of=corpus.ranges, weights=corpus.weights, **settings)


def random_holes(config: TrainingConfig, tokenizer: Tokenizer) -> RandomHoles | None:
    """Return what turns windows into holes; None for a run that only continues."""
    if not config.data.hole_fraction:
        return None
    return RandomHoles(tokenizer=tokenizer, fraction=config.data.hole_fraction)
