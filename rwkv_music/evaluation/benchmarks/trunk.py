"""RWKV-7 over steps of time whose inputs are vectors instead of token ids."""

from jaxtyping import Float
from torch import Tensor, nn

from rwkv_music.model import RWKV7, ModelConfig, initialize


class StepTrunk(nn.Module):
    """Hidden states of a sequence of steps, each from this step's input and all before it.

    Args:
        num_layers: Of RWKV-7.
        dim: Number of channels.
        dropout: Fraction of the outputs of each mixing dropped in training.
        seed: Of the initial weights.
    """

    def __init__(self, *, num_layers: int, dim: int, dropout: float, seed: int) -> None:
        super().__init__()
        config = ModelConfig(vocab_size=1, num_layers=num_layers, dim=dim, dropout=dropout)
        network = RWKV7(config)
        initialize(network, seed=seed)
        # The inputs of this trunk take the place of the embedding, and its users have own heads.
        del network.emb, network.head
        self.network = network

    def forward(self, inputs: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        """Return the hidden state of each step; every sequence begins from an empty state."""
        hidden, _ = self.network.hidden_of(inputs)
        return hidden


class ResidualMLP(nn.Module):
    """x + W2 GELU(W1 LayerNorm(x)), with dropout in front of the sum."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, 2 * dim),
            nn.GELU(),
            nn.Linear(2 * dim, dim),
            nn.Dropout(dropout),
        )

    def forward(self, x: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
        """Return the sum."""
        change: Tensor = self.layers(x)
        return x + change
