"""A model of chorales: RWKV-7 over the steps, and a small network over the voices of a step.

A step has four symbols, soprano to bass. The trunk reads the steps before; the head scores each
voice, given the trunk's state and the voices above it in the same step, so that the likelihood of
a step is exact: p(S) p(A | S) p(T | S, A) p(B | S, A, T).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from jaxtyping import Float, Int
from torch import Tensor, nn

from rwkv_music.evaluation.benchmarks.chorale_grid import (
    BAR_STEPS,
    LONGEST_AGE,
    NUM_SYMBOLS,
    VOICES,
    WIDEST_INTERVAL,
)
from rwkv_music.evaluation.benchmarks.trunk import ResidualMLP, StepTrunk

_WIDEST_MOVE = NUM_SYMBOLS - 1
_NUM_INTERVALS = 2 * WIDEST_INTERVAL + 2


@dataclass(frozen=True)
class ChoraleBatch:
    """Chorales side by side, padded at the end; the fields of `StepInputs` with a batch."""

    targets: Int[Tensor, "B T voices"]
    symbols: Int[Tensor, "B T voices"]
    ages: Int[Tensor, "B T voices"]
    intervals: Int[Tensor, "B T voices"]
    chords: Int[Tensor, "B T voices"]
    beats: Int[Tensor, "B T"]
    lengths: Int[Tensor, " B"]


class ChoraleModel(nn.Module):
    """Scores the symbols of a chorale.

    Args:
        num_layers: Of the trunk.
        dim: Number of channels.
        dropout: In trunk and head.
        voice_dropout: Fraction of whole voices of the past that are hidden in training.
        seed: Of the initial weights.
    """

    def __init__(
        self, *, num_layers: int, dim: int, dropout: float, voice_dropout: float, seed: int
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.voice_dropout = voice_dropout
        self.symbols = _tables(NUM_SYMBOLS + 1, dim)
        self.ages = _tables(LONGEST_AGE + 1, dim)
        self.intervals = _tables(_NUM_INTERVALS, dim)
        self.chords = _tables(13, dim)
        self.beats = _table(BAR_STEPS, dim)
        self.voices = nn.Parameter(torch.randn(VOICES, dim) / dim**0.5)
        self.trunk = StepTrunk(num_layers=num_layers, dim=dim, dropout=dropout, seed=seed)
        self.now = _tables(NUM_SYMBOLS, dim)
        self.moves = _tables(2 * _WIDEST_MOVE + 3, dim)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Sequential(ResidualMLP(dim, dropout), ResidualMLP(dim, dropout))
        self.norm = nn.LayerNorm(dim)
        self.pitch_logits = nn.Linear(dim, VOICES * NUM_SYMBOLS)
        self.move_logits = nn.Linear(dim, 2 * NUM_SYMBOLS + 1)

    def forward(self, batch: ChoraleBatch) -> Float[Tensor, "B T voices symbols"]:
        """Return log probabilities of the symbols of each voice and step."""
        per_voice = self._past_of_voices(batch)
        inputs = self.dropout(per_voice.sum(dim=2) + self.beats(batch.beats))
        hidden = self.trunk(inputs)
        x = hidden[:, :, None] + per_voice + self.voices
        x = x + self._voices_above(batch) + self.beats(batch.beats)[:, :, None]
        x = self.norm(self.head(x))
        return F.log_softmax(self._logits(x, batch.symbols).float(), dim=-1)

    def nats(self, batch: ChoraleBatch) -> Float[Tensor, "B T voices"]:
        """Return the nats of each true symbol; zero in the padding."""
        logs: Tensor = self(batch)
        nats = -logs.gather(-1, batch.targets[..., None])[..., 0]
        steps = torch.arange(nats.shape[1])
        is_real = steps < batch.lengths[:, None]
        return nats * is_real[..., None]

    def _past_of_voices(self, batch: ChoraleBatch) -> Float[Tensor, "B T voices C"]:
        known = [
            (self.symbols, batch.symbols), (self.ages, batch.ages),
            (self.intervals, batch.intervals), (self.chords, batch.chords),
        ]  # fmt: skip
        total: Tensor = torch.stack([_embedded(*pair) for pair in known]).sum(dim=0)
        if self.training and self.voice_dropout:
            total = total * (torch.rand(len(total), 1, VOICES, 1) >= self.voice_dropout)
        return total

    def _voices_above(self, batch: ChoraleBatch) -> Float[Tensor, "B T voices C"]:
        """Return for each voice the sum of what the voices above it do in this step."""
        move = (batch.targets - batch.symbols).clamp(-_WIDEST_MOVE - 1, _WIDEST_MOVE + 1)
        own = [
            self.now[voice](batch.targets[..., voice])
            + self.moves[voice](move[..., voice] + _WIDEST_MOVE + 1)
            for voice in range(VOICES - 1)
        ]
        sums = [torch.zeros_like(own[0])]
        for value in own:
            sums.append(sums[-1] + value)
        return torch.stack(sums, dim=2)

    def _logits(
        self, x: Float[Tensor, "B T voices C"], before: Int[Tensor, "B T voices"]
    ) -> Float[Tensor, "B T voices symbols"]:
        """Return a score of each symbol as such, and of its distance from the symbol before."""
        own = torch.arange(VOICES)
        pitch: Tensor = self.pitch_logits(x).unflatten(-1, (VOICES, NUM_SYMBOLS))[:, :, own, own]
        distance = torch.arange(NUM_SYMBOLS) - before[..., None] + NUM_SYMBOLS
        move: Tensor = self.move_logits(x).gather(-1, distance)
        return pitch + move


def _embedded(
    tables: nn.ModuleList, values: Int[Tensor, "B T voices"]
) -> Float[Tensor, "B T voices C"]:
    """Look up each voice in its own table."""
    rows = [table(values[..., voice]) for voice, table in enumerate(tables)]
    return torch.stack(rows, dim=2)


def _table(rows: int, dim: int) -> nn.Embedding:
    table = nn.Embedding(rows, dim)
    nn.init.normal_(table.weight, std=dim**-0.5)
    return table


def _tables(rows: int, dim: int) -> nn.ModuleList:
    """Return one table for each voice."""
    return nn.ModuleList(_table(rows, dim) for _ in range(VOICES))
