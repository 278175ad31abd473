"""A model of polyphonic frames: RWKV-7 over the frames, and a NADE over the keys of a frame.

The joint likelihood of a frame is exact: the keys are scored one by one from the lowest, each given
the frames before and the keys below it. Source of the head: Uria et al., "Neural Autoregressive
Distribution Estimation" (2016), with one more layer behind its hidden one.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from jaxtyping import Float
from torch import Tensor, nn

from rwkv_music.evaluation.benchmarks.frames import NUM_KEYS
from rwkv_music.evaluation.benchmarks.trunk import StepTrunk

NUM_BEATS = 16
LONGEST_AGE = 16
_NEAR = 12
"""Keys to each side whose last frame the score of a key looks at."""


class FrameModel(nn.Module):
    """Scores frames of 88 keys.

    Args:
        num_layers: Of the trunk.
        dim: Number of channels of the trunk.
        head_dim: Number of channels of the network over the keys.
        dropout: In trunk and head.
        seed: Of the initial weights.
    """

    def __init__(
        self, *, num_layers: int, dim: int, head_dim: int, dropout: float, seed: int
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.keys = nn.Linear(3 * NUM_KEYS, dim)
        self.beats = nn.Embedding(NUM_BEATS, dim)
        self.dropout = nn.Dropout(dropout)
        self.trunk = StepTrunk(num_layers=num_layers, dim=dim, dropout=dropout, seed=seed)
        self.context = nn.Linear(dim, head_dim)
        self.below = nn.Parameter(torch.randn(NUM_KEYS, head_dim) / head_dim**0.5)
        self.near = nn.Conv1d(3, head_dim, 2 * _NEAR + 1, padding=_NEAR)
        self.key = nn.Parameter(torch.randn(NUM_KEYS, head_dim) / head_dim**0.5)
        self.network = nn.Sequential(
            nn.LayerNorm(head_dim), nn.Linear(head_dim, head_dim), nn.GELU(), nn.Dropout(dropout)
        )
        self.readout = nn.Parameter(torch.zeros(NUM_KEYS, head_dim))
        self.bias = nn.Linear(dim, NUM_KEYS)

    def nats(self, frames: Float[Tensor, "B T keys"]) -> Float[Tensor, "B T-1"]:
        """Return the nats of each frame but the first, given all frames before it."""
        losses = F.binary_cross_entropy_with_logits(self(frames), frames[:, 1:], reduction="none")
        return losses.sum(dim=-1)

    def forward(self, frames: Float[Tensor, "B T keys"]) -> Float[Tensor, "B T-1 keys"]:
        """Return the logit of each key of each frame but the first.

        It depends on the frames before, and on the lower keys of its own frame.
        """
        before, target = frames[:, :-1], frames[:, 1:]
        known = torch.stack([before, _onsets(before), _ages(before)], dim=2)
        beats = torch.arange(before.shape[1]) % NUM_BEATS
        hidden = self.trunk(self.dropout(self.keys(known.flatten(2)) + self.beats(beats)))
        summed = (target[..., None] * self.below).cumsum(dim=2)
        below = torch.cat([torch.zeros_like(summed[:, :, :1]), summed[:, :, :-1]], dim=2)
        near = self.near(known.flatten(0, 1)).unflatten(0, known.shape[:2]).transpose(2, 3)
        x = self.context(hidden)[:, :, None] + below + near + self.key
        logits: Tensor = self.bias(hidden) + (self.network(x) * self.readout).sum(dim=-1)
        return logits.float()


def _onsets(frames: Float[Tensor, "B T keys"]) -> Float[Tensor, "B T keys"]:
    """Return 1 where a key is on that was off one frame before."""
    first = torch.zeros_like(frames[:, :1])
    return frames * (1 - torch.cat([first, frames[:, :-1]], dim=1))


def _ages(frames: Float[Tensor, "B T keys"]) -> Float[Tensor, "B T keys"]:
    """Return for each key the share of the last `LONGEST_AGE` frames in which it was on."""
    sums = F.pad(frames.cumsum(dim=1), (0, 0, LONGEST_AGE, 0))
    return (sums[:, LONGEST_AGE:] - sums[:, :-LONGEST_AGE]) / LONGEST_AGE
