"""The peer of the training benchmark: a GPT-2 in plain PyTorch.

Learned positions, LayerNorm before each part, causal `scaled_dot_product_attention`, a GELU layer
of four times the width, and a head of its own (not tied to the embedding) like our model's.

Source: Radford et al., "Language Models are Unsupervised Multitask Learners" (GPT-2).
B sequences, T tokens, C channels, V vocabulary entries.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from jaxtyping import Float, Int
from torch import Tensor, nn

_INITIAL_SPREAD = 0.02


class Block(nn.Module):
    """One layer: causal attention, then the GELU layer, each added back.

    Args:
        width: Channels.
        num_heads: Heads of the attention.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.hidden = nn.Linear(width, 4 * width)
        self.hidden_out = nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        """The layer's output."""
        heads = self.attention(self.ln1(x)).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind()
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.attention_out(mixed.transpose(1, 2).flatten(2))
        changed: Tensor = self.hidden_out(F.gelu(self.hidden(self.ln2(x)), approximate="tanh"))
        return x + changed


class Transformer(nn.Module):
    """The whole model: token ids in, logits out.

    Args:
        vocab_size: Vocabulary entries.
        num_layers: Layers.
        width: Channels; heads have 64 of them.
        positions: Longest sequence it can read.
        seed: Of the initial weights.
    """

    def __init__(
        self, *, vocab_size: int, num_layers: int, width: int, positions: int, seed: int
    ) -> None:
        super().__init__()
        self.emb = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(positions, width)
        self.blocks = nn.ModuleList(Block(width, width // 64) for _ in range(num_layers))
        self.ln_out = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab_size, bias=False)
        self._initialize(seed)

    @torch.no_grad()
    def _initialize(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        at_the_end_of_a_branch = _INITIAL_SPREAD / math.sqrt(2 * len(self.blocks))
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                spread = at_the_end_of_a_branch if name.endswith("_out") else _INITIAL_SPREAD
                module.weight.normal_(0, spread, generator=generator)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()

    def forward(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Logits of the token after each position."""
        x = self.emb(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.ln_out(x))
        return logits
