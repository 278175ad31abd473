"""`jsb`: nats per slot of the JSB chorales on the 16th-note grid, as Music Transformer has them.

Every symbol of every voice is scored, in the order soprano to bass, step by step, each chorale from
an empty state: the sum of -ln p over (4 x steps). Trained on the training part alone.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rwkv_music.evaluation.benchmarks.chorale_grid import (
    VOICES,
    ChoraleGrid,
    step_inputs,
)
from rwkv_music.evaluation.benchmarks.chorale_model import ChoraleBatch, ChoraleModel
from rwkv_music.evaluation.benchmarks.fitting import FitSettings, fit

TRANSPOSITIONS = range(-5, 7)
JSB_FIT = FitSettings(steps=2000, learning_rate=2e-3, weight_decay=1.0)
_BATCH = 12


@dataclass(frozen=True, kw_only=True)
class JSBSettings:
    """Sizes and training of one model."""

    num_layers: int = 3
    dim: int = 192
    dropout: float = 0.2
    voice_dropout: float = 0.1
    fit: FitSettings = JSB_FIT


def train_chorales(
    chorales: Sequence[ChoraleGrid],
    settings: JSBSettings,
    *,
    seed: int,
    progress: Callable[[int, float], None] = lambda _step, _loss: None,
) -> ChoraleModel:
    """Train a model on chorales in all keys that fit the range.

    Args:
        chorales: The training part.
        settings: Of the model and its training.
        seed: Of weights, order and keys.
        progress: Called after each step with the number of steps done and the loss.
    """
    model = ChoraleModel(
        num_layers=settings.num_layers,
        dim=settings.dim,
        dropout=settings.dropout,
        voice_dropout=settings.voice_dropout,
        seed=seed,
    )
    averaged = fit(model, _batches(chorales, seed), _loss, settings.fit, progress=progress)
    assert isinstance(averaged, ChoraleModel)
    return averaged


def _loss(model: torch.nn.Module, batch: ChoraleBatch) -> Float[Tensor, ""]:
    assert isinstance(model, ChoraleModel)
    return model.nats(batch).sum() / (VOICES * batch.lengths.sum())


def _batches(chorales: Sequence[ChoraleGrid], seed: int) -> Iterator[ChoraleBatch]:
    """Yield batches of chorales of similar lengths, each in a random key, endlessly."""
    rng = np.random.default_rng(seed)
    keys = [_keys(chorale) for chorale in chorales]
    lengths = np.array([len(chorale.symbols) for chorale in chorales])
    while True:
        order = np.argsort(lengths + rng.uniform(0, 32, len(lengths)))
        groups = np.array_split(order, range(_BATCH, len(order), _BATCH))
        for group in rng.permutation(len(groups)):
            chosen = [keys[index] for index in groups[group].tolist()]
            yield batch_of([every[int(rng.integers(len(every)))] for every in chosen])


def _keys(chorale: ChoraleGrid) -> list[ChoraleGrid]:
    """Return a chorale in all twelve keys, but those in which a voice would leave the range."""
    keys = [chorale.transposed(semitones) for semitones in TRANSPOSITIONS]
    return [key for key in keys if key is not None]


def batch_of(chorales: Sequence[ChoraleGrid]) -> ChoraleBatch:
    """Return chorales side by side, padded at the end."""
    inputs = [step_inputs(chorale) for chorale in chorales]
    lengths = [len(chorale.symbols) for chorale in chorales]

    def side_by_side(pieces: Sequence[Int[np.ndarray, "_steps ..."]]) -> Int[Tensor, "B T ..."]:
        padded = np.zeros((len(pieces), max(lengths), *pieces[0].shape[1:]), dtype=np.int64)
        for row, piece in zip(padded, pieces, strict=True):
            row[: len(piece)] = piece
        return torch.from_numpy(padded)

    return ChoraleBatch(
        targets=side_by_side([chorale.symbols for chorale in chorales]),
        symbols=side_by_side([known.symbols for known in inputs]),
        ages=side_by_side([known.ages for known in inputs]),
        intervals=side_by_side([known.intervals for known in inputs]),
        chords=side_by_side([known.chords for known in inputs]),
        beats=side_by_side([known.beats for known in inputs]),
        lengths=torch.tensor(lengths),
    )


@torch.no_grad()
def chorale_nats(
    models: Sequence[ChoraleModel], chorale: ChoraleGrid, *, keys: bool = True
) -> Float[Tensor, "steps voices"]:
    """Return the nats of each symbol, by the mean of the models' probabilities in all keys.

    Args:
        models: Trained with several seeds.
        chorale: To score.
        keys: Average over all keys that fit the range, instead of the chorale's own alone.
    """
    batch = batch_of(_keys(chorale) if keys else [chorale])
    logs = torch.stack([-model.nats(batch) for model in models]).double()
    count = logs.shape[0] * logs.shape[1]
    mixed: Tensor = logs.flatten(0, 1).logsumexp(dim=0)
    return math.log(count) - mixed


def nats_per_slot(
    models: Sequence[ChoraleModel], chorales: Sequence[ChoraleGrid], *, keys: bool = True
) -> float:
    """Return the nats per slot of chorales: the sum over 4 x steps."""
    nats = [chorale_nats(models, chorale, keys=keys) for chorale in chorales]
    return sum(float(piece.sum()) for piece in nats) / sum(piece.numel() for piece in nats)
