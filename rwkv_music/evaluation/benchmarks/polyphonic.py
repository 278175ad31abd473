"""`polyphonic`: nats per frame of four sets of piano-roll frames, jointly over the 88 keys.

Each frame is scored given all frames before it, and each piece from an empty state; the first frame
is not scored: the sum of -ln p over the number of scored frames, on the test part.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rwkv_music.evaluation.benchmarks.fitting import FitSettings, fit
from rwkv_music.evaluation.benchmarks.frame_model import FrameModel
from rwkv_music.evaluation.benchmarks.frames import Frames

FRAME_FIT = FitSettings(steps=600, learning_rate=2e-3, weight_decay=0.3)
_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class FrameSettings:
    """Sizes and training of a model of frames."""

    num_layers: int = 2
    dim: int = 192
    head_dim: int = 96
    dropout: float = 0.2
    frames: int = 192
    """Longest piece of music in training; longer ones are cut at random."""
    semitones: int = 3
    """Pieces are transposed by at most this much at random."""
    fit: FitSettings = FRAME_FIT


def train_frames(
    pieces: Sequence[Frames],
    settings: FrameSettings,
    *,
    seed: int,
    progress: Callable[[int, float], None] = lambda _step, _loss: None,
) -> FrameModel:
    """Train a model on pieces of frames.

    Args:
        pieces: The training part.
        settings: Of the model and its training.
        seed: Of weights, order, cuts and keys.
        progress: Called after each step with the number of steps done and the loss.
    """
    model = FrameModel(
        num_layers=settings.num_layers,
        dim=settings.dim,
        head_dim=settings.head_dim,
        dropout=settings.dropout,
        seed=seed,
    )
    batches = _batches(pieces, settings, seed)
    averaged = fit(model, batches, _loss, settings.fit, progress=progress)
    assert isinstance(averaged, FrameModel)
    return averaged


def _loss(
    model: torch.nn.Module, batch: tuple[Float[Tensor, "B T keys"], Float[Tensor, "B T"]]
) -> Float[Tensor, ""]:
    assert isinstance(model, FrameModel)
    frames, is_scored = batch
    return (model.nats(frames) * is_scored[:, 1:]).sum() / is_scored[:, 1:].sum()


def _batches(
    pieces: Sequence[Frames], settings: FrameSettings, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield cuts of random pieces and where they are no padding; long pieces come more often."""
    rng = np.random.default_rng(seed)
    usable = [piece for piece in pieces if len(piece) > 1]
    chances = np.array([float(len(piece)) for piece in usable])
    chances /= chances.sum()
    while True:
        frames = torch.zeros(_BATCH, settings.frames, usable[0].shape[1])
        is_scored = torch.zeros(_BATCH, settings.frames)
        for row, index in enumerate(rng.choice(len(usable), _BATCH, p=chances).tolist()):
            piece = usable[index]
            first = int(rng.integers(max(1, len(piece) - settings.frames + 1)))
            cut = transposed(piece, int(rng.integers(-settings.semitones, settings.semitones + 1)))
            cut = cut[first : first + settings.frames]
            frames[row, : len(cut)] = torch.from_numpy(cut.astype(np.float32))
            is_scored[row, : len(cut)] = 1
        yield frames, is_scored


def transposed(piece: Frames, semitones: int) -> Frames:
    """Return a piece transposed, or as it is where a key would leave the keyboard."""
    moved = np.roll(piece, semitones, axis=1)
    edge = moved[:, :semitones] if semitones > 0 else moved[:, semitones or len(piece[0]) :]
    return piece if edge.any() else moved


@torch.no_grad()
def nats_per_frame(
    models: Sequence[FrameModel], pieces: Sequence[Frames], semitones: Sequence[int] = (0,)
) -> float:
    """Return the nats per frame of whole pieces, by the mean probability of models and keys.

    Args:
        models: Trained with several seeds.
        pieces: To score.
        semitones: Transpositions over which the probability is averaged.
    """
    nats, scored = 0.0, 0
    for piece in pieces:
        rows = [
            -model.nats(torch.from_numpy(transposed(piece, key).astype(np.float32))[None])[0]
            for model in models
            for key in semitones
        ]
        logs = torch.stack(rows).double()
        nats += float((np.log(len(rows)) - logs.logsumexp(dim=0)).sum())
        scored += len(piece) - 1
    return nats / scored
